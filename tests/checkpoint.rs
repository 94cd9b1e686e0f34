//! Checkpoints: the round trip, and every way in which a file can be wrong.

use std::fs;
use std::path::Path;

use zfnet::error::Error;
use zfnet::net::Plan;
use zfnet::net::config::NetConfig;
use zfnet::tensor::NamedTensor;
use zfnet::train::checkpoint::{Best, Checkpoint, Header, Progress, Running};
use zfnet::train::schedule::ScheduleState;

/// Values that a careless number format would change.
const AWKWARD: [f32; 6] = [0.1, -0.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, -1.000_000_1];

fn plan() -> Plan {
    let text = "[net]\nname = \"two\"\ninput = 5\n[[layer]]\nconv = \"conv1\"\nfilters = 3\nkernel = 3\n\
                [[layer]]\nlinear = \"fc2\"\n";
    Plan::new(&NetConfig::parse("test", text).unwrap(), 2).unwrap()
}

fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
    let len = shape.iter().product();
    NamedTensor { name: name.into(), shape: shape.to_vec(), data: AWKWARD.into_iter().cycle().take(len).collect() }
}

fn sample() -> Checkpoint {
    let tensors: Vec<_> = plan().params().map(|p| tensor(&p.name, &p.shape)).collect();
    let mut momentum = tensors.clone();
    momentum.iter_mut().for_each(|t| t.data.reverse());
    let progress = Progress {
        epoch: 3,
        step: u64::MAX,
        step_in_epoch: 17,
        running: Running { loss: 0.1 + 0.2, top1: 5, images: 9, seconds: 1.0 / 3.0 },
        schedule: ScheduleState { drops: 2, best_error: Some(0.1 + 0.7), stale: 3 },
        best: Some(Best { epoch: 2, score: 0.7 + 1e-16 }),
    };
    Checkpoint {
        header: Header {
            config: "a = \"b\"\n# \u{e9}\n".into(),
            classes: vec!["daisy \"white\"".into(), "\u{82b1}\u{8475}".into()],
            record: 6,
            progress,
        },
        weights: tensors,
        momentum,
        mean: tensor("mean", &[6, 6, 3]),
    }
}

/// What comes of reading `bytes`: a checkpoint, or a refusal that names the file.
fn read(bytes: &[u8]) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    fs::write(&path, bytes).unwrap();
    match Checkpoint::read(&path) {
        Ok(checkpoint) => Ok(checkpoint),
        Err(error @ Error::Format { .. }) if error.to_string().contains("broken.safetensors") => Err(error.to_string()),
        Err(other) => panic!("expected a format error with the file's name, got {other}"),
    }
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("a wrong file was read")
}

fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    checkpoint.write(&path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left behind");
    fs::read(&path).unwrap()
}

fn bits(checkpoint: &Checkpoint) -> Vec<u32> {
    let tensors = checkpoint.weights.iter().chain(&checkpoint.momentum).chain([&checkpoint.mean]);
    tensors.flat_map(|t| t.data.iter().map(|v| v.to_bits())).collect()
}

#[test]
fn round_trip_keeps_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let written = sample();
    written.write(&path).unwrap();
    let read = Checkpoint::read(&path).unwrap();
    assert_eq!(read, written);
    assert_eq!(bits(&read), bits(&written));
    read.expect(&path, &plan()).unwrap();
}

#[test]
fn the_same_state_is_the_same_file() {
    assert!(bytes_of(&sample()) == bytes_of(&sample()));
}

#[test]
fn cut_short_anywhere_is_refused() {
    let bytes = bytes_of(&sample());
    for end in 0..bytes.len() {
        refusal(&bytes[..end]);
    }
    refusal(&[&bytes[..], &[0]].concat());
}

/// One wrong bit, in the header, a name or a value, must not go unnoticed. Only
/// where it changes nothing (the 17th digit of a number) may the file pass.
#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let bytes = bytes_of(&sample());
    let mut passed = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        if let Ok(checkpoint) = read(&damaged) {
            assert_eq!(bits(&checkpoint), bits(&sample()), "byte {at}");
            assert_eq!(checkpoint, sample(), "byte {at}");
            passed += 1;
        }
    }
    assert!(passed < 8, "{passed} flips changed nothing");
}

#[test]
fn other_files_are_refused() {
    assert!(refusal(b"").contains("cut short"));
    assert!(refusal(b"not a tensor in sight").contains("safetensors"));
    let head = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  "#;
    let foreign = [&(head.len() as u64).to_le_bytes()[..], head, &[0; 4]].concat();
    assert!(refusal(&foreign).contains("not a checkpoint"));
}

#[test]
fn another_version_is_refused_by_number() {
    let bytes = bytes_of(&sample());
    let ours = br#"{\"version\":1,"#;
    let at = bytes.windows(ours.len()).position(|w| w == ours).unwrap();
    let mut later = bytes.clone();
    later[at + ours.len() - 2] = b'7';
    let message = refusal(&later);
    assert!(message.contains("format 7") && message.contains("format 1"), "{message}");
}

#[test]
fn values_that_are_not_finite_are_refused_by_name() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut checkpoint = sample();
        checkpoint.momentum[1].data[2] = value;
        assert!(refusal(&bytes_of(&checkpoint)).contains("tensor momentum.conv1.bias"));
    }
}

#[test]
fn tensors_of_another_network_are_refused_by_name() {
    let refuse = |change: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = sample();
        change(&mut checkpoint);
        checkpoint.expect(Path::new("some/file"), &plan()).unwrap_err().to_string()
    };
    let missing = refuse(&|c| c.weights.truncate(3));
    assert!(missing.contains("some/file") && missing.contains("tensor fc2.bias is missing"), "{missing}");
    let extra = refuse(&|c| c.momentum.push(tensor("fc9.bias", &[2])));
    assert!(extra.contains("tensor momentum.fc9.bias belongs to no layer"), "{extra}");
    let other = refuse(&|c| c.weights[2] = tensor("fc2.weight", &[27, 2]));
    assert!(other.contains("tensor fc2.weight is [27, 2], the network has [2, 27]"), "{other}");
}

/// Permissions stop no superuser, so obstacles stand in for them: a folder
/// where the temporary file should be, and a device that is always full.
#[test]
fn a_failed_write_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let temporary = folder.path().join("last.safetensors.tmp");
    let old = sample();
    old.write(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let mut new = sample();
    new.header.progress.epoch = 4;

    fs::create_dir(&temporary).unwrap();
    let message = new.write(&path).unwrap_err().to_string();
    assert!(message.contains("last.safetensors.tmp"), "{message}");
    assert!(fs::read(&path).unwrap() == before);
    fs::remove_dir(&temporary).unwrap();

    #[cfg(target_os = "linux")]
    {
        std::os::unix::fs::symlink("/dev/full", &temporary).unwrap();
        let message = new.write(&path).unwrap_err().to_string();
        assert!(message.contains("last.safetensors.tmp") && message.contains("No space left"), "{message}");
        assert!(fs::read(&path).unwrap() == before);
        assert!(!temporary.exists());
    }

    new.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().header.progress.epoch, 4);
}
