//! The reverse walk: PyTorch's projections, and the identities that tell a deconvnet from its look-alikes.

use zfnet::net::{Keep, Net, Part, Pass, Plan, Reverse};
use zfnet::ops::pool::UnpoolMode;
use zfnet::ops::{Backend, Cpu};
use zfnet::tensor::{Extent, NamedTensor};

use crate::common::compare::{Tolerance, assert_close, assert_same_bits, roundoff};
use crate::common::goldens;
use crate::net::{CLASSES, TINY, batch, golden_net, he, plan};

const METHODS: [Reverse; 3] = [Reverse::DECONVNET, Reverse::GRADIENT, Reverse::GUIDED];

/// Registers a test `fn name<B: Backend>(backend: B, f64: bool)` for the CPU in both types, and for
/// the naive and the fast kernels in f32 on the emulator and on a GPU.
macro_rules! on_backends {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use zfnet::ops::{Cpu, Gpu, Precision};

            use crate::common::device::{emulator, gpu};

            #[test]
            fn f32() {
                super::$name(Cpu::<f32>::new(), false);
            }
            #[test]
            fn f64() {
                super::$name(Cpu::<f64>::new(), true);
            }
            #[test]
            fn emulator_naive() {
                super::$name(Gpu::naive(emulator(1)), false);
            }
            #[test]
            fn emulator_fast() {
                super::$name(Gpu::new(emulator(7), Precision::F32), false);
            }
            #[test]
            fn gpu_fast() {
                if let Some(gpu) = gpu() {
                    super::$name(Gpu::new(gpu, Precision::F32), false);
                }
            }
        }
    )+};
}

/// The values of parameter `name`, or its gradient.
fn parameter<B: Backend>(net: &mut Net<B>, part: Part, name: &str) -> Vec<f32> {
    net.export(part).unwrap().into_iter().find(|t| t.name == name).unwrap().data
}

/// Sets parameters to what `value` makes of them.
fn set_parameters<B: Backend>(net: &mut Net<B>, value: impl Fn(&NamedTensor) -> Option<Vec<f32>>) {
    let mut tensors = net.export(Part::Value).unwrap();
    for tensor in &mut tensors {
        if let Some(data) = value(tensor) {
            tensor.data = data;
        }
    }
    net.import(Part::Value, &tensors).unwrap();
}

/// An evaluation network with He weights that has seen batch `j`.
fn forward<B: Backend>(backend: B, plan: Plan, N: usize, j: u64) -> Net<B> {
    let (x, labels) = batch(j, N, plan.input.len());
    let mut net = Net::new(backend, plan, N, false, 3).unwrap();
    net.init(he).unwrap();
    net.load_input(&x, &labels).unwrap();
    net.forward(Pass::Eval).unwrap();
    net
}

/// The strongest map at (p, q) of image `n` in blob `y` (N, P, Q, K), and its value.
fn strongest(y: &[f32], extent: Extent, n: usize, p: usize, q: usize) -> (usize, f32) {
    let at = ((n * extent.H + p) * extent.W + q) * extent.C;
    let maps = y[at..][..extent.C].iter().copied().enumerate();
    maps.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// Every start of the golden file in both unpooling modes, each between rows that
/// start from something else.
///
/// The kept value, the result and the golden are each rounded once to f32, and the
/// projection is linear in the value. In f32 four times what PyTorch's own f32 lost.
fn golden_projections<B: Backend>(backend: B, f64: bool) {
    let (Some(cases), Some(nets)) = (goldens::cases("deconv"), goldens::cases("net")) else { return };
    let case = &cases[0];
    let image: Vec<f32> = case.channels_last("image");
    let others: Vec<f32> = nets[0].channels_last("x2");
    let mut net = golden_net(backend, &nets[0], 3, false);
    let mut x = others[..3 * image.len()].to_vec();
    x[image.len()..][..image.len()].copy_from_slice(&image);
    net.load_input(&x, &[0; 3]).unwrap();
    net.forward(Pass::Eval).unwrap();
    let mut starts = 0;
    for (start, kept) in case.entries("keep") {
        let layer = start.split('.').next().unwrap();
        let index = |key: &str| kept[key].as_u64().unwrap() as usize;
        let unit = Keep::Unit { p: index("i"), q: index("j"), k: index("c") };
        for (golden, unpool) in [("proj_add", UnpoolMode::Add), ("proj_last", UnpoolMode::Set)] {
            let reverse = Reverse { unpool, ..Reverse::DECONVNET };
            let rows = net.project(layer, &[Keep::Layer, unit, Keep::Map(0)], &reverse).unwrap();
            let name = format!("{golden}.{start}");
            let once = roundoff::<f32>();
            let tolerance = match f64 {
                false => Tolerance { rel: 5.0 * once, abs: 4.0 * case.f32_error(start) },
                true => Tolerance { rel: 3.0 * once, abs: 1e-14 * case.largest(&name) },
            };
            assert_close(&name, &rows[image.len()..][..image.len()], &case.channels_last(&name), tolerance);
            starts += 1;
        }
    }
    assert_eq!(starts, 32);
}

/// [`TINY`] on top of a 1 x 1 convolution, so that the loss gradient of what it sees
/// shows in the filters of that convolution.
fn tiny_with_lens() -> Plan {
    let lens = "[[layer]]\nconv = \"lens\"\nfilters = 3\nkernel = 1\nrelu = false\n\n[[layer]]\nconv = \"conv1\"";
    plan(&TINY.replacen("[[layer]]\nconv = \"conv1\"", lens, 1), CLASSES)
}

/// The gradient rules, from the softmax gradient at the top, give d loss / d input as
/// the training pass has it. The training pass stops at the first layer's filters;
/// with the identity there, dw[k,c] = sum_{n,h,w} dx[n,h,w,k] x[n,h,w,c], so with an x
/// that is 1 at one place (put in after the forward walk) they are dx at that place.
///
/// Logits are read and the signal is given in f32, and so are the projections: the
/// softmax gradient is off by 4 x 2^-24 of its size, and as the walk is linear the
/// pixels by about that; the largest of sums of both signs is 8 times it at most.
/// In f32 the sums of the walk round too: 2^-24 times the root of 500 terms.
fn gradient_preset_is_back_propagation<B: Backend>(backend: B, f64: bool) {
    let N = 2;
    let plan = tiny_with_lens();
    let Extent { H, W, C } = plan.input;
    let on_cpu = backend.describe().starts_with("cpu");
    let mut net = Net::new(backend, plan, N, true, 3).unwrap();
    net.init(he).unwrap();
    let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    set_parameters(&mut net, |tensor| (tensor.name == "lens.weight").then(|| identity.clone()));
    let (x, labels) = batch(0, N, H * W * C);
    net.load_input(&x, &labels).unwrap();
    net.forward(Pass::Eval).unwrap();

    let logits = net.blob("fc5").unwrap();
    let softmax_gradient = |(z, label): (&[f32], &i32)| {
        let exp: Vec<f64> = z.iter().map(|z| f64::from(*z).exp()).collect();
        let sum: f64 = exp.iter().sum();
        let p = exp.into_iter().enumerate();
        p.map(|(k, e)| ((e / sum - f64::from(k == *label as usize)) / N as f64) as f32).collect::<Vec<f32>>()
    };
    let signal: Vec<f32> = logits.chunks(CLASSES).zip(&labels).flat_map(softmax_gradient).collect();
    let pixels = net.project_signal("fc5", &signal, &Reverse::GRADIENT).unwrap();

    // Three places a pass, one in each channel of x; a few of them where a pass takes long.
    let places: Vec<usize> = (0..N * H * W).step_by(if on_cpu { 1 } else { 199 }).collect();
    let mut expected = vec![f64::NAN; N * H * W * C];
    for trio in places.chunks(3) {
        let mut probe = vec![0f32; x.len()];
        trio.iter().enumerate().for_each(|(c, place)| probe[place * C + c] = 1.0);
        net.load_input(&probe, &labels).unwrap();
        net.backward(Pass::Eval).unwrap();
        let dw = parameter(&mut net, Part::Grad, "lens.weight"); // (3, 1, 1, 3)
        for (c, place) in trio.iter().enumerate() {
            (0..C).for_each(|k| expected[place * C + k] = f64::from(dw[k * C + c]));
        }
    }
    let at_places =
        |pixels: &[f32]| -> Vec<f32> { places.iter().flat_map(|p| pixels[p * C..][..C].to_vec()).collect() };
    let expected: Vec<f64> = places.iter().flat_map(|p| expected[p * C..][..C].to_vec()).collect();
    let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let once = roundoff::<f32>();
    let sums = if f64 { 0.0 } else { 500f64.sqrt() };
    assert!(largest > 1e-3, "a gradient of {largest} compares nothing");
    assert_close("d loss / d input", &at_places(&pixels), &expected, Tolerance::abs((32.0 + sums) * once * largest));
    // Each rule matters here: without it the walk arrives somewhere else.
    let set = Reverse { unpool: UnpoolMode::Set, ..Reverse::GRADIENT };
    let skipped = Reverse { lrn: Reverse::DECONVNET.lrn, ..Reverse::GRADIENT };
    for other in [Reverse::DECONVNET, Reverse::GUIDED, set, skipped] {
        let pixels = net.project_signal("fc5", &signal, &other).unwrap();
        let apart =
            at_places(&pixels).iter().zip(&expected).fold(0.0_f64, |m, (p, e)| m.max((f64::from(*p) - e).abs()));
        assert!(apart > 1e-2 * largest, "{other:?} is {apart:e} from the gradient, whose largest value is {largest:e}");
    }
}

/// Doubling doubles every sum without rounding, and no rule looks at more than a sign.
fn projections_are_homogeneous<B: Backend>(backend: B, _: bool) {
    let mut net = forward(backend, plan(TINY, CLASSES), 3, 1);
    for layer in ["conv1", "pool1", "lrn1", "conv2", "lrn2", "pool2", "conv3", "fc4", "fc5"] {
        let once = net.blob(layer).unwrap();
        let twice: Vec<f32> = once.iter().map(|v| 2.0 * v).collect();
        for reverse in METHODS {
            let of_once = net.project_signal(layer, &once, &reverse).unwrap();
            let of_twice = net.project_signal(layer, &twice, &reverse).unwrap();
            let doubled: Vec<f32> = of_once.iter().map(|v| 2.0 * v).collect();
            assert_same_bits(&format!("{layer}, {reverse:?}"), &of_twice, &doubled);
            assert!(of_once.iter().any(|v| *v != 0.0), "{layer}, {reverse:?}: nothing arrives");
        }
    }
    // But not by a negative factor: the deconvnet rectifies.
    let negative: Vec<f32> = net.blob("conv2").unwrap().iter().map(|v| -v).collect();
    let pixels = net.project_signal("conv2", &negative, &Reverse::DECONVNET).unwrap();
    assert!(pixels.iter().all(|v| *v == 0.0));
}

/// ZFNet's windows and strides at full size, with a few maps each.
fn narrow_zfnet() -> Plan {
    let conv = |name: &str, filters: usize, kernel: usize, stride: usize, pad: usize| {
        format!(
            "[[layer]]\nconv = \"{name}\"\nfilters = {filters}\nkernel = {kernel}\nstride = {stride}\npad = {pad}\n"
        )
    };
    let pool = |name: &str| format!("[[layer]]\npool = \"{name}\"\nkernel = 3\nstride = 2\n");
    let lrn = |name: &str| format!("[[layer]]\nlrn = \"{name}\"\n");
    let layers = [
        "[net]\nname = \"narrow\"\ninput = 224\n".into(),
        conv("conv1", 5, 7, 2, 1) + &pool("pool1") + &lrn("lrn1"),
        conv("conv2", 7, 5, 2, 0) + &pool("pool2") + &lrn("lrn2"),
        conv("conv3", 6, 3, 1, 1) + &conv("conv4", 9, 3, 1, 1) + &conv("conv5", 8, 3, 1, 1) + &pool("pool5"),
        "[[layer]]\nlinear = \"fc6\"\n".into(),
    ];
    plan(&layers.concat(), CLASSES)
}

/// One unit's projection is exactly 0 outside the unit's box, which is cut at the
/// border; inside it is not.
#[test]
fn a_unit_sees_its_receptive_field_alone() {
    let mut net = forward(Cpu::<f32>::new(), narrow_zfnet(), 3, 2);
    let image = net.plan().input;
    for (name, side) in [("conv1", 7), ("pool1", 11), ("conv2", 27), ("conv3", 75), ("conv4", 107), ("conv5", 139)] {
        let layer = net.plan().layers[net.plan().layer_index(name).unwrap()].clone();
        assert_eq!(layer.receptive_field, side);
        let Extent { H: P, W: Q, .. } = layer.output;
        let places = [(P / 2, Q / 2), (0, 1), (P - 1, Q - 3)];
        let y = net.blob(name).unwrap();
        let unit = |(n, (p, q))| Keep::Unit { p, q, k: strongest(&y, layer.output, n, p, q).0 };
        let keep: Vec<Keep> = places.into_iter().enumerate().map(unit).collect();
        for reverse in METHODS {
            let pixels = net.project(name, &keep, &reverse).unwrap();
            for ((p, q), pixels) in places.into_iter().zip(pixels.chunks(image.len())) {
                let field = layer.field(p, q, image);
                let (rows, columns) = (field.top..field.top + field.height, field.left..field.left + field.width);
                let (mut inside, mut outside) = (0.0, 0.0);
                for (i, v) in pixels.iter().enumerate() {
                    let (h, w) = (i / (image.W * image.C), i / image.C % image.W);
                    *if rows.contains(&h) && columns.contains(&w) { &mut inside } else { &mut outside } += v.abs();
                }
                assert_eq!(outside, 0.0, "{name} ({p}, {q}), {reverse:?}: outside {field:?}");
                assert!(inside > 0.0, "{name} ({p}, {q}), {reverse:?}: nothing inside {field:?}");
            }
        }
        let centre = layer.field(P / 2, Q / 2, image);
        assert_eq!((centre.height, centre.width), (side, side), "{name}");
    }
}

/// A layer-1 unit projects to its value times its filter, cut at the border.
fn a_first_layer_unit_is_its_filter<B: Backend>(backend: B, _: bool) {
    let mut net = forward(backend, plan(TINY, CLASSES), 2, 3);
    let image = net.plan().input;
    let layer = net.plan().layers[0].clone();
    let y = net.blob("conv1").unwrap();
    let places = [(6, 4), (0, layer.output.W - 1)];
    let units = [0, 1].map(|n| strongest(&y, layer.output, n, places[n].0, places[n].1));
    let keep = [0, 1].map(|n| Keep::Unit { p: places[n].0, q: places[n].1, k: units[n].0 });
    let pixels = net.project("conv1", &keep, &Reverse::DECONVNET).unwrap();
    let shape = net.params()[0].shape.clone();
    let (R, S, C) = (shape[1], shape[2], shape[3]);
    let w = parameter(&mut net, Part::Value, "conv1.weight"); // (K, R, S, C)
    for n in 0..2 {
        let (k, value) = units[n];
        assert!(value > 0.0);
        let (top, left) = (2 * places[n].0 as isize - 1, 2 * places[n].1 as isize - 1);
        let mut expected = vec![0f64; image.len()];
        for i in 0..R * S * C {
            let (h, w_) = (top + (i / (S * C)) as isize, left + (i / C % S) as isize);
            if (0..image.H as isize).contains(&h) && (0..image.W as isize).contains(&w_) {
                let at = (h as usize * image.W + w_ as usize) * C + i % C;
                expected[at] = f64::from(value) * f64::from(w[k * R * S * C + i]);
            }
        }
        // One product, rounded to T and read in f32; all other terms are 0.
        let tolerance = Tolerance::rel(2.0 * roundoff::<f32>());
        assert_close("projection", &pixels[n * image.len()..][..image.len()], &expected, tolerance);
    }
}

/// With switches and activations held fixed the forward biases change nothing.
fn biases_do_not_go_down<B: Backend>(backend: B, _: bool) {
    let mut net = forward(backend, plan(TINY, CLASSES), 3, 4);
    let start = |net: &mut Net<B>, reverse: &Reverse| net.project("fc5", &[Keep::Layer; 3], reverse).unwrap();
    let before = METHODS.map(|reverse| start(&mut net, &reverse));
    set_parameters(&mut net, |tensor| tensor.name.ends_with("bias").then(|| vec![7.5; tensor.data.len()]));
    for (reverse, before) in METHODS.into_iter().zip(before) {
        assert_same_bits("projection", &start(&mut net, &reverse), &before);
    }
}

/// A row is what it would be alone, and a map is what its units make together where
/// nothing rectifies between them.
#[test]
fn rows_do_not_mix() {
    let (N, name) = (4, "conv3");
    let plan_ = plan(TINY, CLASSES);
    let image = plan_.input.len();
    let mut net = forward(Cpu::<f32>::new(), plan_.clone(), N, 5);
    let keep = [Keep::Unit { p: 1, q: 0, k: 2 }, Keep::Layer, Keep::Map(4), Keep::Unit { p: 0, q: 1, k: 3 }];
    let (x, labels) = batch(5, N, image);
    for reverse in METHODS {
        let together = net.project(name, &keep, &reverse).unwrap();
        for n in 0..N {
            let mut alone = Net::new(Cpu::<f32>::new(), plan_.clone(), 1, false, 3).unwrap();
            alone.init(he).unwrap();
            alone.load_input(&x[n * image..][..image], &labels[n..=n]).unwrap();
            alone.forward_to(name).unwrap();
            let row = alone.project(name, &keep[n..=n], &reverse).unwrap();
            // Only the order of sums may depend on the batch: 500 terms of one walk, forward and back.
            let largest = row.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
            let expected: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let tolerance = Tolerance::abs(2.0 * 500f64.sqrt() * roundoff::<f32>() * largest);
            assert_close("row", &together[n * image..][..image], &expected, tolerance);
        }
    }
}

#[test]
fn what_is_not_there_is_refused() {
    let mut net = forward(Cpu::<f32>::new(), plan(TINY, CLASSES), 2, 6);
    let refused = |net: &mut Net<Cpu<f32>>, name: &str, keep: &[Keep]| {
        net.project(name, keep, &Reverse::DECONVNET).map(|_| ()).unwrap_err().to_string()
    };
    let unknown = refused(&mut net, "conv9", &[Keep::Layer; 2]);
    assert!(unknown.contains("conv9") && unknown.contains("conv1, pool1"), "{unknown}");
    let extent = net.plan().layers[3].output;
    let beyond = [Keep::Map(8), Keep::Unit { p: extent.H, q: 0, k: 0 }, Keep::Unit { p: 0, q: extent.W, k: 0 }];
    for keep in beyond {
        let message = refused(&mut net, "conv2", &[Keep::Layer, keep]);
        assert!(message.contains("conv2, which is"), "{message}");
    }
    assert!(refused(&mut net, "conv2", &[Keep::Layer]).contains("1 choices"));
    let short = net.project_signal("conv2", &[0.0; 3], &Reverse::DECONVNET).map(|_| ()).unwrap_err().to_string();
    assert!(short.contains("3 values for 2 images in conv2"), "{short}");
    let mut fresh = Net::new(Cpu::<f32>::new(), plan(TINY, CLASSES), 2, false, 3).unwrap();
    assert!(fresh.project("conv2", &[], &Reverse::DECONVNET).is_err(), "a projection without a batch");
    for (name, method) in [("deconvnet", METHODS[0]), ("gradient", METHODS[1]), ("guided", METHODS[2])] {
        assert_eq!(name.parse::<Reverse>().unwrap(), method);
    }
    assert!("saliency".parse::<Reverse>().unwrap_err().to_string().contains("deconvnet, gradient or guided"));
    assert!("max".parse::<UnpoolMode>().unwrap_err().to_string().contains("add or set"));
}

on_backends!(
    golden_projections,
    gradient_preset_is_back_propagation,
    projections_are_homogeneous,
    a_first_layer_unit_is_its_filter,
    biases_do_not_go_down,
);
