//! The grammar: what is read, what is refused and where, what is written back.

use proptest::prelude::*;
use zfnet::data::augment::Crops;
use zfnet::error::Error;
use zfnet::net::config::{ConvConfig, LayerConfig, LinearConfig, OpConfig, PoolConfig};
use zfnet::net::{NetConfig, Plan, preset};
use zfnet::ops::lrn::Lrn;
use zfnet::ops::pool::Rounding;
use zfnet::train::schedule::ScheduleConfig;
use zfnet::train::{Config, Init, Recipe, TrainEdit};

/// A correct description; line numbers in the tests below count from its first line.
const GOOD: &str = r#"[net]
name = "tiny"
input = 33

[[layer]]
conv = "conv1"
filters = 6
kernel = 5
stride = 2

[[layer]]
pool = "pool1"
kernel = 3
stride = 2

[[layer]]
lrn = "lrn1"

[[layer]]
conv = "conv2"
filters = 9
kernel = 3
groups = 3

[[layer]]
linear = "fc3"
outputs = 11
dropout = 0.5

[[layer]]
linear = "fc4"

[train]
epochs = 3
"#;

/// Reads and plans `text`; the refusal's line, key and reason.
fn refusal(text: &str) -> (usize, String, String) {
    let result = Config::parse("net.toml", text).and_then(|c| Plan::new(&c.net, 4).map(|_| ()));
    match result {
        Err(Error::Config { origin, line, key, reason }) => {
            assert_eq!(origin, "net.toml");
            (line.unwrap_or(0), key, reason)
        }
        other => panic!("expected a refusal with a place, got {other:?}"),
    }
}

/// `GOOD` with `old` replaced, which must occur, must be refused at `line` for `key`.
#[track_caller]
fn refused(old: &str, new: &str, line: usize, key: &str, reason: &str) {
    assert!(GOOD.contains(old), "`{old}` is not in the text");
    let (found_line, found_key, found_reason) = refusal(&GOOD.replacen(old, new, 1));
    assert!(found_reason.contains(reason), "{found_line}: {found_key}: {found_reason}");
    assert_eq!((found_line, found_key.as_str()), (line, key), "{found_reason}");
}

#[test]
fn the_good_text_is_good() {
    let config = Config::parse("net.toml", GOOD).unwrap();
    let plan = Plan::new(&config.net, 4).unwrap();
    let sides: Vec<usize> = plan.layers.iter().map(|l| l.output.H).collect();
    assert_eq!(sides, [15, 7, 7, 5, 1, 1]);
    let expected = ConvConfig { filters: 6, kernel: 5, stride: 2, pad: 0, groups: 1, relu: true };
    assert_eq!(config.net.layers[0], LayerConfig::new("conv1", OpConfig::Conv(expected)));
    assert_eq!(config.net.layers[2].op, OpConfig::Lrn(Lrn::default()));
    let last = LinearConfig { outputs: None, relu: false, dropout: 0.0 };
    assert_eq!(config.net.layers[5].op, OpConfig::Linear(last));
    assert_eq!(config.train.epochs, 3);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    refused("filters = 6", "fliters = 6", 7, "conv1.fliters", "did you mean `filters`?");
    refused("stride = 2\n\n[[layer]]\nlrn", "pad = 1\n\n[[layer]]\nlrn", 14, "pool1.pad", "known here: pool, kernel");
    refused("lrn = \"lrn1\"", "lrn = \"lrn1\"\nAlpha = 1", 18, "lrn1.Alpha", "did you mean `alpha`?");
    refused("dropout", "drop_out", 28, "fc3.drop_out", "did you mean `dropout`?");
    refused("input", "inputs", 3, "net.inputs", "did you mean `input`?");
    refused("[train]", "[training]", 33, "training", "unknown key");
    refused("epochs = 3", "epoch = 3", 34, "train.epoch", "did you mean `epochs`?");
}

#[test]
fn wrong_types_are_refused() {
    refused("filters = 6", "filters = 6.0", 7, "conv1.filters", "must be a whole number, found a float");
    refused("filters = 6", "filters = \"6\"", 7, "conv1.filters", "must be a whole number, found a string");
    refused("conv = \"conv1\"", "conv = 1", 6, "layer.conv", "must be a text in quotes, found an integer");
    refused("stride = 2", "relu = 1", 9, "conv1.relu", "must be true or false");
    refused("dropout = 0.5", "dropout = true", 28, "fc3.dropout", "must be a number, found a boolean");
    refused("[train]\nepochs = 3", "[[train]]\nepochs = 3", 33, "train", "must be a table, found an array");
    refused("[[layer]]\nlinear = \"fc4\"", "[layer.extra]\nlinear = \"fc4\"", 30, "fc3.extra", "unknown key");
    assert_eq!(refusal("layer = 3\n[net]\nname = \"a\"\ninput = 9").0, 1);
}

#[test]
fn missing_keys_are_refused() {
    refused("filters = 6\n", "", 5, "conv1.filters", "missing");
    refused("kernel = 3\nstride = 2\n", "stride = 2\n", 11, "pool1.kernel", "missing");
    refused("input = 33\n", "", 1, "net.input", "missing");
    refused("outputs = 11\n", "", 25, "fc3.outputs", "only the last layer");
    refused("lrn = \"lrn1\"", "", 16, "layer", "exactly one of conv, pool, lrn, linear");
    refused("lrn = \"lrn1\"", "lrn = \"lrn1\"\npool = \"pool2\"", 16, "layer", "pool and lrn are given");
    let (line, key, reason) = refusal("[net]\nname = \"a\"\ninput = 9\n");
    assert_eq!((line, key.as_str()), (1, "layer"), "{reason}");
    assert_eq!(refusal("").1, "net");
}

#[test]
fn sizes_that_do_not_fit_are_refused_where_they_stand() {
    refused("groups = 3", "groups = 4", 23, "conv2.groups", "4 groups must divide both 6 input channels and 9 filters");
    refused("kernel = 5", "kernel = 34", 8, "conv1.kernel", "a 34 x 34 kernel does not fit the 33 x 33 input");
    refused("kernel = 5", "kernel = 5\npad = 5", 9, "conv1.pad", "pad 5 must be smaller");
    refused("kernel = 3\nstride = 2\n", "kernel = 16\nstride = 2\n", 13, "pool1.kernel", "does not fit the 15 x 15");
    refused("kernel = 3\nstride = 2\n", "kernel = 17\nstride = 2\n", 13, "pool1.kernel", "over 16");
    refused("linear = \"fc4\"", "linear = \"fc4\"\noutputs = 7", 32, "fc4.outputs", "7 outputs cannot score 4 classes");
}

#[test]
fn names_and_order_are_checked() {
    refused("\"conv2\"", "\"conv1\"", 20, "conv1.conv", "another layer has this name");
    refused("\"conv2\"", "\"\"", 20, "layer.conv", "is no name");
    refused("\"conv2\"", "\"conv 2/x\"", 20, "layer.conv", "is no name");
    refused("name = \"tiny\"", "name = \"\"", 2, "net.name", "is no name");
    refused(
        "[[layer]]\nlinear = \"fc4\"\n",
        "[[layer]]\nlrn = \"n\"\n",
        31,
        "n.lrn",
        "cannot follow the linear layer fc3",
    );
    refused("linear = \"fc4\"", "linear = \"fc4\"\nrelu = true", 32, "fc4.relu", "not rectified");
    refused("linear = \"fc4\"", "linear = \"fc4\"\ndropout = 0.5", 32, "fc4.dropout", "not dropped");
    let (head, _) = GOOD.split_once("[[layer]]\nlinear").unwrap();
    let (line, key, reason) = refusal(head);
    assert_eq!((line, key.as_str()), (20, "conv2.conv"), "{reason}");
    assert!(reason.contains("last layer must be linear"));
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (old, new, line, key) in [
        ("filters = 6", "filters = 0", 7, "conv1.filters"),
        ("filters = 6", "filters = -1", 7, "conv1.filters"),
        ("filters = 6", "filters = 1_000_000_000_000", 7, "conv1.filters"),
        ("filters = 6", "filters = 99999999999999999999999999999999999999999999999", 7, "conv1.filters"),
        ("input = 33", "input = 65537", 3, "net.input"),
        ("stride = 2", "stride = 0", 9, "conv1.stride"),
        ("epochs = 3", "seed = -1", 34, "train.seed"),
    ] {
        refused(old, new, line, key, "is outside");
    }
    for value in ["1.0", "-0.1", "nan", "inf"] {
        refused("dropout = 0.5", &format!("dropout = {value}"), 28, "fc3.dropout", "is not a probability in [0, 1)");
    }
    refused("lrn = \"lrn1\"", "lrn = \"lrn1\"\nk = 0", 18, "lrn1.k", "positive");
    refused("lrn = \"lrn1\"", "lrn = \"lrn1\"\nbeta = -1e3", 18, "lrn1.beta", "from 0 up");
}

#[test]
fn networks_too_large_for_any_machine_are_refused() {
    let all = "input = 65536\n\n[[layer]]\nconv = \"conv0\"\nfilters = 65536\nkernel = 65535";
    refused("input = 33", all, 7, "conv0.filters", "too large for any machine");
    let old = "input = 33\n\n[[layer]]\nconv = \"conv1\"\nfilters = 6";
    let new = "input = 65536\n\n[[layer]]\nconv = \"conv1\"\nfilters = 65536";
    refused(old, new, 6, "conv1.conv", "too many for any machine");
    // A thousand 1 x 1 windows with the largest stride: receptive fields must not overflow.
    let layers: String =
        (0..1000).map(|i| format!("[[layer]]\nconv = \"c{i}\"\nfilters = 1\nkernel = 1\nstride = 65536\n")).collect();
    let text = format!("[net]\nname = \"deep\"\ninput = 9\n{layers}[[layer]]\nlinear = \"fc\"\n");
    assert_eq!(refusal(&text), (13, "c1.stride".into(), "the strides up to here multiply to more than 1048576".into()));
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    refused("stride = 2", "stride 2", 9, "syntax", "");
    refused("stride = 2", "kernel = 2", 9, "syntax", "duplicate key");
}

#[test]
fn a_base_can_be_changed() {
    let text = "base = \"alexnet\"\ndrop = [\"conv3\"]\n[net]\nname = \"mine\"\n[change.conv4]\ngroups = 1\npad = 0\n";
    let net = NetConfig::parse("mine.toml", text).unwrap();
    let base = NetConfig::parse("alexnet", preset::text("alexnet").unwrap()).unwrap();
    assert_eq!((net.name.as_str(), net.input, net.layers.len()), ("mine", 227, base.layers.len() - 1));
    let changed = ConvConfig { filters: 384, kernel: 3, stride: 1, pad: 0, groups: 1, relu: true };
    for layer in &net.layers {
        if layer.name == "conv4" {
            assert_eq!(layer.op, OpConfig::Conv(changed));
        } else {
            assert!(base.layers.contains(layer), "{}", layer.name);
        }
    }
}

#[test]
fn wrong_changes_are_refused() {
    let refused = |text: &str, line: usize, key: &str, reason: &str| {
        let found = refusal(text);
        assert!(found.2.contains(reason), "{found:?}");
        assert_eq!((found.0, found.1.as_str()), (line, key));
    };
    refused("\nbase = \"zfnett\"", 2, "base", "did you mean `zfnet`?");
    refused("base = \"zfnet\"\ndrop = [\"conv9\"]", 2, "drop", "no layer `conv9` in zfnet (there are conv1, pool1");
    refused("base = \"zfnet\"\n[change.conv9]\npad = 1", 2, "change.conv9", "no layer `conv9`");
    refused("base = \"zfnet\"\n[change.conv3]\noutputs = 1", 3, "conv3.outputs", "unknown key");
    refused("base = \"zfnet\"\n[change.conv3]\nconv = \"c\"", 3, "conv3.conv", "unknown key");
    refused("base = \"zfnet\"\n[change]\nconv3 = 1", 3, "change.conv3", "must be a table");
    refused("base = \"zfnet\"\n[change.conv3]\nkernel = 16", 3, "conv3.kernel", "does not fit the 13 x 13 input");
    refused("base = \"zfnet\"\n[change.conv3]\ngroups = 5", 3, "conv3.groups", "5 groups must divide");
    refused("base = \"zfnet\"\n[[layer]]\nlrn = \"n\"", 2, "layer", "not both");
    refused("drop = []\n[net]\nname = \"a\"\ninput = 9", 1, "drop", "only a description with base");
}

#[test]
fn training_settings_out_of_range_are_refused() {
    for (setting, key, reason) in [
        ("batch = 0", "train.batch", "from 1 to"),
        ("epochs = 10000000", "train.epochs", "from 1 to"),
        ("lr = 0", "train.lr", "positive"),
        ("lr = nan", "train.lr", "not a number"),
        ("momentum = 1.0", "train.momentum", "in [0, 1)"),
        ("weight_decay = -1e-4", "train.weight_decay", "from 0 up"),
        ("rms_clip = -1", "train.rms_clip", "or false for no limit"),
        ("rms_clip = true", "train.rms_clip", "give the radius"),
        ("rms_clip = \"off\"", "train.rms_clip", "must be a number"),
        ("init = \"xavier\"", "train.init", "none of paper, he"),
        ("recipe = \"best\"", "train.recipe", "none of paper, practical"),
        ("crops = 10", "train.crops", "text in quotes"),
        ("schedule = \"steps\"", "train.schedule", "must be a table"),
        ("schedule = {}", "train.schedule.kind", "missing"),
        ("schedule = { kind = \"cosine\" }", "train.schedule.kind", "none of constant, steps, plateau"),
        ("schedule = { kind = \"steps\" }", "train.schedule.at", "missing"),
        ("schedule = { kind = \"steps\", at = [0.5, 0.5] }", "train.schedule.at", "rising"),
        ("schedule = { kind = \"steps\", at = [30] }", "train.schedule.at", "fractions of the run in (0, 1)"),
        ("schedule = { kind = \"steps\", at = [\"a\"] }", "train.schedule.at", "must be a number"),
        ("schedule = { kind = \"steps\", at = [0.5], patience = 3 }", "train.schedule.patience", "unknown key"),
        ("schedule = { kind = \"plateau\", factor = 1 }", "train.schedule.factor", "above 1"),
        ("schedule = { kind = \"plateau\", patience = 0 }", "train.schedule.patience", "outside"),
    ] {
        refused("epochs = 3", setting, 34, key, reason);
    }
    let edit = TrainEdit { lr: Some(-1.0), ..TrainEdit::default() };
    let error = edit.check(|_| zfnet::section::Place::whole("command line")).unwrap_err().to_string();
    assert_eq!(error, "command line: train.lr: -1 is not a positive number");
}

#[test]
fn each_level_applies_its_recipe_first_and_its_keys_after() {
    let read = |train: &str| Config::parse("net.toml", &format!("base = \"small\"\n[train]\n{train}")).unwrap().train;
    let small = Config::preset("small").unwrap().train;
    assert_eq!((small.recipe, small.init, small.batch), (Recipe::Practical, Init::He, 32));
    assert_eq!(read(""), small);

    let paper = read("recipe = \"paper\"\nweight_decay = 0.25");
    assert_eq!((paper.init, paper.weight_decay), (Init::Paper, 0.25));
    assert_eq!(paper.schedule, ScheduleConfig::plateau());
    assert_eq!((paper.batch, paper.epochs), (small.batch, small.epochs));

    // The command line's recipe overrules what the file says of init, decay and schedule.
    let mut train = read("init = \"paper\"\nweight_decay = 0.25\nschedule = { kind = \"constant\" }\nlr = 0.5");
    assert_eq!((train.init, train.weight_decay, train.lr), (Init::Paper, 0.25, 0.5));
    assert!("best".parse::<Recipe>().unwrap_err().contains("neither paper nor practical"));
    train.apply(&TrainEdit { recipe: "practical".parse().ok(), ..TrainEdit::default() });
    assert_eq!((train.init, train.weight_decay, train.lr), (Init::He, 5e-4, 0.5));
    assert_eq!(train.schedule, ScheduleConfig::steps());
}

#[test]
fn the_paper_s_networks_default_to_the_paper_s_recipe() {
    for name in preset::names().into_iter().filter(|n| *n != "small" && !n.ends_with("-64")) {
        let train = Config::preset(name).unwrap().train;
        assert_eq!((train.recipe, train.init, train.weight_decay), (Recipe::Paper, Init::Paper, 0.0), "{name}");
        assert_eq!((train.batch, train.lr, train.momentum), (128, 0.01, 0.9), "{name}");
        assert_eq!((train.rms_clip, train.epochs), (Some(0.1), 70), "{name}");
    }
}

#[test]
fn he_shares_the_pixels_scale_among_the_layers() {
    for name in ["zfnet", "small", "alexnet-no3467"] {
        let plan = Plan::new(&Config::preset(name).unwrap().net, 5).unwrap();
        let fan_in = |p: &zfnet::net::plan::Param| p.shape[1..].iter().product::<usize>();
        let weights: Vec<_> = plan.params().filter(|p| p.kind == zfnet::net::ParamKind::Weight).collect();
        assert_eq!(weights.len(), plan.depth());
        // Mean squares: each layer multiplies by fan_in std^2 / 2, all together by 1/64^2.
        let gain: f64 =
            weights.iter().map(|p| fan_in(p) as f64 * Init::He.std(fan_in(p), plan.depth()).powi(2) / 2.0).product();
        assert!((gain * 4096.0 - 1.0).abs() <= 1e-12, "{name}: {gain}");
        assert!(weights.iter().all(|p| Init::Paper.std(fan_in(p), plan.depth()) == 0.01));
    }
}

/// What is written reads back as an equal description, and has nothing left open.
fn round_trips(config: &Config) {
    let text = config.to_toml();
    let again = Config::parse("written", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(&again, config, "{text}");
}

#[test]
fn presets_round_trip() {
    for name in preset::names() {
        let config = Config::preset(name).unwrap();
        round_trips(&config);
        let fixed = Config { net: config.net.with_classes(5), ..config };
        assert_eq!(fixed.net.classes(), Some(5));
        round_trips(&fixed);
    }
}

#[test]
fn files_and_run_folders_open() {
    let run = tempfile::tempdir().unwrap();
    let config = Config::parse("net.toml", GOOD).unwrap();
    let path = run.path().join("config.toml");
    std::fs::write(&path, config.to_toml()).unwrap();
    assert_eq!(Config::open(path.to_str().unwrap()).unwrap(), config);
    assert_eq!(Config::open(run.path().to_str().unwrap()).unwrap(), config);
    assert_eq!(Config::open("small").unwrap(), Config::preset("small").unwrap());
    let missing = Config::open("no/such.toml").unwrap_err().to_string();
    assert!(missing.contains("cannot read no/such.toml"), "{missing}");
    std::fs::write(&path, "[net]\nnmae = \"x\"").unwrap();
    let message = Config::file(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}, line 2: net.nmae: unknown key", path.display())), "{message}");
}

/// Sizes near the edges of what fits, and a few absurd ones.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..12, 1 => Just(0), 1 => Just(65_536), 1 => 13usize..600]
}

fn op() -> impl Strategy<Value = OpConfig> {
    let conv = (size(), size(), size(), 0usize..9, 1usize..4, any::<bool>()).prop_map(
        |(filters, kernel, stride, pad, groups, relu)| {
            OpConfig::Conv(ConvConfig { filters, kernel, stride, pad, groups, relu })
        },
    );
    let pool = (size(), size(), any::<bool>()).prop_map(|(kernel, stride, ceil)| {
        OpConfig::Pool(PoolConfig { kernel, stride, rounding: if ceil { Rounding::Ceil } else { Rounding::Floor } })
    });
    let lrn = (size(), 0.5f64..3.0, 0.0f64..1.0, 0.0f64..2.0, any::<bool>())
        .prop_map(|(n, k, alpha, beta, divide_alpha)| OpConfig::Lrn(Lrn { n, k, alpha, beta, divide_alpha }));
    prop_oneof![3 => conv, 2 => pool, 1 => lrn]
}

prop_compose! {
    fn net()(input in size(), below in prop::collection::vec(op(), 0..6), hidden in prop::collection::vec(size(), 0..3),
             dropout in 0.0f64..1.0, outputs in prop::option::of(size())) -> NetConfig {
        let hidden = hidden.into_iter().map(|o| LinearConfig { outputs: Some(o), relu: true, dropout });
        let last = LinearConfig { outputs, relu: false, dropout: 0.0 };
        let ops = below.into_iter().chain(hidden.chain([last]).map(OpConfig::Linear));
        let layers = ops.enumerate().map(|(i, op)| LayerConfig::new(&format!("layer{i}"), op)).collect();
        NetConfig { name: "any".into(), input, layers }
    }
}

proptest! {
    #[test]
    fn any_network_is_planned_or_refused_and_never_panics(net in net(), classes in size()) {
        if let Ok(plan) = Plan::new(&net, classes) {
            // Every layer hangs on the one below, and the sums agree with the parts.
            let mut below = plan.input;
            for layer in &plan.layers {
                prop_assert_eq!(layer.input, below);
                prop_assert!(!layer.output.is_empty());
                below = layer.output;
            }
            prop_assert_eq!(below.C, classes);
            prop_assert_eq!(plan.params().map(|p| p.len()).sum::<usize>(), plan.total_params());
            prop_assert!(plan.memory(1 << 16, |_| 8).total() >= 24 * plan.total_params() as u64);
            // And what can be planned can be written down and read again.
            let text = net.to_toml();
            prop_assert_eq!(NetConfig::parse("written", &text).unwrap(), net);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_and_never_panics(cut in 0..GOOD.len(), with in "[ -~\\n]{0,12}", skip in 0usize..30) {
        let end = (cut + skip).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..cut], &GOOD[end..]);
        if let Ok(config) = Config::parse("net.toml", &text) {
            let _ = Plan::new(&config.net, 4);
        }
    }

    #[test]
    fn any_training_settings_round_trip(lr in 1e-9f64..10.0, decay in 0.0f64..1.0, seed in any::<u64>(),
                                        clip in prop::option::of(1e-6f64..10.0), at in 0.01f64..0.9, ten in any::<bool>(),
                                        practical in any::<bool>(), kind in 0..3) {
        let schedule = match kind {
            0 => ScheduleConfig::Constant,
            1 => ScheduleConfig::Steps { at: vec![at, at + 0.05], factor: 1.0 + lr },
            _ => ScheduleConfig::Plateau { factor: 2.5, patience: 7, min_delta: decay / 2.0, max_drops: 1 },
        };
        let mut config = Config::parse("net.toml", GOOD).unwrap();
        config.train.apply(&TrainEdit {
            recipe: Some(if practical { Recipe::Practical } else { Recipe::Paper }),
            lr: Some(lr),
            weight_decay: Some(decay),
            seed: Some(seed),
            rms_clip: Some(clip),
            crops: Some(if ten { Crops::Ten } else { Crops::Random }),
            flip: Some(ten),
            schedule: Some(schedule),
            ..TrainEdit::default()
        });
        round_trips(&config);
    }
}
