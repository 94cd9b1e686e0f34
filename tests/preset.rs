//! Every preset against the paper's numbers (spec: 1000 classes).

use zfnet::net::{LayerOp, NetConfig, Plan, preset};

fn config(name: &str) -> NetConfig {
    NetConfig::parse(name, preset::text(name).unwrap()).unwrap()
}

fn plan(name: &str) -> Plan {
    Plan::new(&config(name), 1000).unwrap()
}

#[test]
fn parameter_counts_are_those_of_the_paper() {
    let expected = [
        ("zfnet", 62_357_608),
        ("zfnet-fc2048", 28_848_232),
        ("zfnet-fc8192", 154_542_184),
        ("zfnet-wide", 107_627_624),
        ("zfnet-wide-fc8192", 237_560_936),
        ("alexnet", 60_965_224),
        ("alexnet-no34", 59_268_712),
        ("alexnet-no7", 44_183_912),
        ("alexnet-no67", 11_551_080),
        ("alexnet-no3467", 9_854_568),
        ("alexnet-fc2048", 27_455_848),
        ("alexnet-fc8192", 153_149_800),
        // Not in the paper; by hand, layer by layer.
        ("zfnet-64", 3_552 + 38_464 + 55_392 + 83_040 + 55_360 + 2 * 65_792 + 257_000),
        ("alexnet-64", 8_736 + 19_264 + 55_392 + 41_568 + 27_712 + 2 * 65_792 + 257_000),
    ];
    for (name, params) in expected {
        assert_eq!(plan(name).total_params(), params, "{name}");
    }
    let counted = |name: &&str| expected.iter().any(|(counted, _)| counted == name);
    let others: Vec<&str> = preset::names().into_iter().filter(|name| !counted(name)).collect();
    assert_eq!(others, ["small"], "a preset without an expected count");
}

#[test]
fn every_preset_is_called_by_its_name_and_leaves_the_classes_open() {
    for name in preset::names() {
        assert_eq!(config(name).name, name);
        assert_eq!(config(name).classes(), None);
        assert_eq!(Plan::new(&config(name), 7).unwrap().layers.last().unwrap().output.C, 7);
    }
}

#[test]
fn zfnet_has_the_paper_s_layers() {
    // name, output side, output maps, parameters, multiply-accumulates
    let expected: [(&str, usize, usize, usize, u64); 13] = [
        ("conv1", 110, 96, 14_208, 170_755_200),
        ("pool1", 55, 96, 0, 0),
        ("lrn1", 55, 96, 0, 0),
        ("conv2", 26, 256, 614_656, 415_334_400),
        ("pool2", 13, 256, 0, 0),
        ("lrn2", 13, 256, 0, 0),
        ("conv3", 13, 384, 885_120, 149_520_384),
        ("conv4", 13, 384, 1_327_488, 224_280_576),
        ("conv5", 13, 256, 884_992, 149_520_384),
        ("pool5", 6, 256, 0, 0),
        ("fc6", 1, 4096, 37_752_832, 37_748_736),
        ("fc7", 1, 4096, 16_781_312, 16_777_216),
        ("fc8", 1, 1000, 4_097_000, 4_096_000),
    ];
    let plan = plan("zfnet");
    assert_eq!(plan.layers.len(), expected.len());
    for (layer, (name, side, maps, params, macs)) in plan.layers.iter().zip(expected) {
        assert_eq!(layer.name, name);
        assert_eq!((layer.output.H, layer.output.W, layer.output.C), (side, side, maps), "{name}");
        assert_eq!((layer.params(), layer.macs()), (params, macs), "{name}");
    }
    assert_eq!(plan.total_macs(), 1_168_032_896);
}

#[test]
fn zfnet_has_the_paper_s_receptive_fields() {
    // name, field, jump, first pixel of the field of output (0, 0)
    let expected = [
        ("conv1", 7, 2, -1),
        ("pool1", 11, 4, -1),
        ("lrn1", 11, 4, -1),
        ("conv2", 27, 8, -1),
        ("pool2", 43, 16, -1),
        ("conv3", 75, 16, -17),
        ("conv4", 107, 16, -33),
        ("conv5", 139, 16, -49),
        ("pool5", 171, 32, -49),
        ("fc6", 224, 32, 0),
        ("fc8", 224, 32, 0),
    ];
    let plan = plan("zfnet");
    for (name, field, jump, start) in expected {
        let layer = &plan.layers[plan.layer_index(name).unwrap()];
        assert_eq!((layer.receptive_field, layer.jump, layer.field_start), (field, jump, start), "{name}");
    }
}

#[test]
fn alexnet_normalises_before_it_pools_and_is_grouped() {
    let plan = plan("alexnet");
    let sides: Vec<(&str, usize)> = plan.layers.iter().map(|l| (l.name.as_str(), l.output.H)).collect();
    let expected = [("conv1", 55), ("lrn1", 55), ("pool1", 27), ("conv2", 27), ("lrn2", 27), ("pool2", 13)];
    assert_eq!(sides[..6], expected);
    assert_eq!(sides[9], ("pool5", 6));
    let groups: Vec<usize> = plan
        .layers
        .iter()
        .filter_map(|l| match l.op {
            LayerOp::Conv { conv, .. } => Some(conv.groups),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [1, 2, 1, 2, 2]);
}

#[test]
fn small_is_small_and_has_every_kind_of_layer() {
    let plan = Plan::new(&config("small"), 5).unwrap();
    assert!((20_000_000..=40_000_000).contains(&plan.total_macs()), "{} MACs", plan.total_macs());
    for kind in ["conv", "pool", "lrn", "linear"] {
        assert!(plan.layers.iter().filter(|l| l.kind() == kind).count() >= 2, "{kind}");
    }
}

#[test]
fn parameters_are_listed_in_order_and_add_up() {
    let plan = plan("alexnet");
    let params: Vec<_> = plan.params().collect();
    assert_eq!(params.iter().map(|p| p.len()).sum::<usize>(), plan.total_params());
    assert_eq!((params[2].name.as_str(), params[2].shape.as_slice()), ("conv2.weight", &[256, 5, 5, 48][..]));
    assert_eq!((params[3].name.as_str(), params[3].shape.as_slice()), ("conv2.bias", &[256][..]));
    assert_eq!((params[10].name.as_str(), params[10].shape.as_slice()), ("fc6.weight", &[4096, 9216][..]));
    assert!(params.iter().all(|p| p.name.starts_with(&format!("{}.", plan.layers[p.layer].name))));
}

#[test]
fn memory_adds_up() {
    let plan = plan("zfnet");
    let memory = plan.memory(128, |_| 4);
    assert_eq!(memory.parameters, 4 * 62_357_608);
    // conv1's output, the largest, twice.
    // conv1 leads the even layers, pool1 the odd ones.
    assert_eq!(memory.activation_gradients, 4 * 128 * (110 * 110 * 96 + 55 * 55 * 96));
    assert_eq!(memory.switches, 128 * (55 * 55 * 96 + 13 * 13 * 256 + 6 * 6 * 256));
    let input = 4 * 128 * 224 * 224 * 3;
    let layers: u64 = plan.layers.iter().map(|l| l.memory(128, |_| 4)).sum();
    assert_eq!(memory.total(), layers + input + memory.activation_gradients);
}

#[test]
fn an_unknown_preset_or_layer_lists_what_there_is() {
    let message = preset::text("zfnett").unwrap_err().to_string();
    assert!(message.contains("did you mean `zfnet`?") && message.contains("alexnet-no3467"), "{message}");
    let message = plan("small").layer_index("conv9").unwrap_err().to_string();
    assert!(message.contains("conv9") && message.contains("conv1, pool1, lrn1"), "{message}");
}
