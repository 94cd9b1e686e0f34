//! Tables of paths and labels.

use std::fs;
use std::path::Path;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::sources::Csv;

use super::{Files, HOLD_OUT, options, pack, png, records, refusal, says, shows};

fn csv(dir: &Path) -> Csv {
    Csv { file: dir.join("table.csv"), hold_out: HOLD_OUT }
}

/// Eight pictures and a table.
fn with_table(dir: &Path, table: impl Into<Vec<u8>>) -> Csv {
    let mut files = Files::default();
    (0..8).for_each(|i| {
        files.add(format!("pictures/{i}.png"), png(i));
    });
    files.add("table.csv", table);
    files.folder(dir);
    csv(dir)
}

#[test]
fn columns_say_where_and_what() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let table = "label, Path, weight, split\nb, pictures/3.png, 1, train\na, pictures/1.png, 2, val\n\
                 a, pictures/0.png, 3, train\nb,\"pictures/2.png\", 4, val\n";
    pack(&with_table(&temp.path().join("in"), table), &options(), &out).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.classes(), ["a", "b"]);
    for (split, expected) in [(Split::Train, [(1, 3), (0, 0)]), (Split::Val, [(0, 1), (1, 2)])] {
        for ((label, colour), (class, i)) in records(&dataset, split).into_iter().zip(expected) {
            assert_eq!(label, class);
            shows(colour, i);
        }
        assert_eq!(dataset.split(split).len(), 2);
    }
}

#[test]
fn without_a_split_a_share_is_held_out() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let mut table = "path,label\n".to_string();
    (0..8).for_each(|i| table += &format!("pictures/{i}.png,{}\n", [10, 9][i % 2]));
    table += "pictures/nowhere.png,9\n";
    let (summary, said) = pack(&with_table(&temp.path().join("in"), table), &options(), &out).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.classes(), ["9", "10"], "numbers are not in the order of numbers");
    assert_eq!((summary.images(), summary.skipped()), (8, 1));
    says(&said, &["pictures/nowhere.png"]);
    // round(0.34 * 5) and round(0.34 * 4), of which the missing file may be one.
    let val = &dataset.manifest().val.per_class;
    assert!(val[1] == 1 && (val[0] == 1 || val[0] == 2), "{val:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let refused = |table: &[u8], parts: &[&str]| refusal(&with_table(dir, table), parts);
    refused(b"file,label\na,b\n", &["table.csv", "line 1", "\"path\""]);
    refused(b"path,class\na,b\n", &["line 1", "\"label\""]);
    refused(b"path,label\npictures/0.png,a\npictures/1.png\n", &["table.csv", "line 3", "1 fields"]);
    refused(b"path,label\npictures/0.png,a\npictures/1.png,\n", &["line 3", "label is empty"]);
    refused(b"path,label,split\npictures/0.png,a,test\n", &["line 2", "\"test\"", "train or val"]);
    refused(b"path,label\npictures/0.png,a\npictures/1.png,a\npictures/0.png,b\n", &["line 4", "line 2"]);
    refused(b"path,label\npictures/0.png,a\npictures/\xFF.png,a\n", &["table.csv", "line 3", "UTF-8"]);
    refused(b"path,label\n", &["table.csv", "0 classes"]);
    refused(
        b"path,label,split\npictures/0.png,a,train\npictures/1.png,b,train\npictures/2.png,a,val\n",
        &["class \"b\" has no image in val"],
    );
    refused(b"path,label\npictures/0.png,a\n", &["class \"a\" has 1 images", "none can be held out"]);
    fs::remove_file(dir.join("table.csv")).unwrap();
    refusal(&csv(dir), &["table.csv", "cannot read"]);
}
