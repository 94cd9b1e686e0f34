//! Lists of images to leave out.

use std::fs;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::sources::{ImageFolder, Options};

use super::{Files, HOLD_OUT, options, pack, png, records, refusal, says};

#[test]
fn what_a_list_names_is_left_out_and_nothing_else_moves() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, list) = (temp.path().join("in"), temp.path().join("list.txt"));
    let mut files = Files::default();
    for c in 0..2 {
        (0..9).for_each(|i| {
            files.add(format!("{}/{i}.png", ["ant", "bee"][c]), png(10 * c + i));
        });
    }
    files.folder(&dir);
    let source = ImageFolder { dir, hold_out: HOLD_OUT };
    let out = |name: &str| temp.path().join(name);
    pack(&source, &options(), &out("all")).unwrap();
    fs::write(&list, "bee/4.png\nbee/nowhere.png\n\n  ant/0.png \nant\n").unwrap();
    let with_list = Options { exclude: Some(list.clone()), ..options() };
    let (summary, said) = pack(&source, &with_list, &out("some")).unwrap();
    assert_eq!((summary.images(), summary.excluded, summary.skipped()), (16, 2, 0));
    says(&said, &["list.txt: 2 names are not in this data set", "\"bee/nowhere.png\" in line 2"]);
    let [all, some] = ["all", "some"].map(|name| Dataset::open(out(name)).unwrap());
    says(&some.manifest().preprocessing, &["2 images excluded"]);
    let gone = [0, 14].map(|i: usize| [(i * 37 % 251) as u8, (i * 101 % 241) as u8, (i * 59 % 239) as u8]);
    for split in Split::ALL {
        let mut expected = records(&all, split);
        expected.retain(|(_, colour)| !gone.contains(colour));
        assert_eq!(records(&some, split), expected, "{split}");
    }

    // The names that a data set keeps are those that a list takes.
    let train = all.split(Split::Train).names().unwrap();
    let bees: Vec<&str> = train.into_iter().filter(|name| name.starts_with("bee/")).collect();
    assert_eq!(bees.len(), 6);
    fs::write(&list, bees[1..].join("\n")).unwrap();
    let (summary, said) = pack(&source, &with_list, &out("one bee")).unwrap();
    assert_eq!((summary.excluded, said.as_str()), (5, ""));
    assert_eq!(summary.manifest.train.per_class, [6, 1]);
    fs::write(&list, (0..9).map(|i| format!("ant/{i}.png\n")).collect::<String>()).unwrap();
    let none_left = pack(&source, &with_list, &out("none")).map(|_| ()).unwrap_err().to_string();
    says(&none_left, &["class \"ant\" has no image in train"]);
    fs::write(&list, b"bee/4.png\nbee/\xFF.png\n").unwrap();
    let bytes = pack(&source, &with_list, &out("bytes")).map(|_| ()).unwrap_err().to_string();
    says(&bytes, &["list.txt", "line 2", "UTF-8"]);
    fs::remove_file(&list).unwrap();
    let missing = pack(&source, &with_list, &out("missing")).map(|_| ()).unwrap_err().to_string();
    says(&missing, &["list.txt", "cannot read"]);
    refusal(&ImageFolder { dir: temp.path().join("nowhere"), hold_out: HOLD_OUT }, &["nowhere"]);
}
