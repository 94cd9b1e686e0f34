//! The page of a run: whole by itself, and alive in a browser.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use zfnet::report::occluder::Occluder;
use zfnet::train::observer::Silent;
use zfnet::train::trainer::Options;

use crate::fixture;

/// A run with every figure that the page can show: (folder that holds it, run).
fn illustrated() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let run = folder.path().join("run");
    let options = Options { keep_epochs: vec![1, 2, 4], ..fixture::options() };
    fixture::train(&data, &run, &fixture::config(), &options, &mut Silent).unwrap();
    for arguments in [&["top9"][..], &["evolution", "--epochs", "1,2,4"]] {
        let mut command = fixture::zfnet(["visualize", arguments[0]]);
        let (status, _, stderr) =
            fixture::outcome(command.arg(&run).arg("--data").arg(data.root()).args(&arguments[1..]));
        assert_eq!(status, Some(0), "{stderr}");
    }
    let figures = run.join("figures");
    let picture = image::RgbImage::from_fn(9, 9, |x, y| image::Rgb([20 * x as u8, 20 * y as u8, 90]));
    for name in ["filters-conv1.png", "occlusion-a.png", "occlusion-a-crop.png"] {
        picture.save(figures.join(name)).unwrap();
    }
    let occluder = Occluder {
        name: "a.jpg </script> & \"b\"".into(),
        crop: "occlusion-a-crop.png".into(),
        panels: "occlusion-a.png".into(),
        classes: fixture::CLASSES.map(String::from).to_vec(),
        class: 1,
        clear: 0.75,
        layer: "conv1".into(),
        map: 3,
        side: 3,
        tops: vec![0, 3, 6],
        lefts: vec![1, 5],
        probability: vec![0.9, 0.8, 0.7, 0.125, 0.6, 0.5],
        labels: vec![1, 1, 1, 0, 1, 2],
        activity: vec![1.0; 6],
    };
    fs::write(figures.join("occlusion-a.json"), json!(occluder).to_string()).unwrap();
    let score = json!({
        "projections": [{ "method": "deconvnet", "layer": "conv1", "means": { "energy": 0.5, "pointing": 0.75, "area": 0.1 } }],
        "occlusion": [{ "method": "occlusion", "means": { "correlation": 0.625, "inside": 0.875, "chance": 0.25 } }],
    });
    fs::write(figures.join("score.json"), score.to_string()).unwrap();
    (folder, run)
}

fn program(arguments: &[&str], run: &Path) -> (Option<i32>, String, String) {
    fixture::outcome(fixture::zfnet(["report"]).arg(run).args(arguments))
}

/// Nothing outside the file is asked for, and what is not there is named.
#[test]
fn the_page_is_whole_by_itself() {
    let (_folder, run) = illustrated();
    let (status, stdout, stderr) = program(&[], &run);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("report.html"), "{stdout}");
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for outside in ["http:", "https:", "src=\"/", "url(", "@import", "file:"] {
        assert!(!page.contains(outside), "the page asks for {outside}");
    }
    let sources = page.matches("<img").count();
    assert!(sources == 5 && page.matches("src=\"data:image/png;base64,").count() == sources, "{sources} pictures");
    for shown in ["conv 3x3, stride 2, pad 0, ReLU", "schedule = ", "0.625", "0.750", "a.jpg &lt;/script&gt;"] {
        assert!(page.contains(shown), "the page lacks {shown}");
    }
    // Without figures: curves and settings stand, and each command is named.
    fs::remove_dir_all(run.join("figures")).unwrap();
    let (status, stdout, stderr) = program(&["--json"], &run);
    assert_eq!(status, Some(0), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_eq!(answer["bytes"].as_u64(), Some(page.len() as u64));
    for command in ["filters", "top9", "evolution", "occlusion", "score"] {
        assert!(page.contains(&format!("zfnet visualize {command}")), "{command}");
        assert!(stdout.contains(&format!("visualize {command}")), "{stdout}");
    }
}

#[test]
fn what_cannot_be_shown_is_said() {
    let (_folder, run) = illustrated();
    let said = |status: i32, words: &[&str]| {
        let (found, stdout, stderr) = program(&[], &run);
        assert_eq!(found, Some(status), "{stderr}");
        assert!(stdout.is_empty() && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    let figures = run.join("figures");
    let damage = |name: &str, text: &str| {
        let (path, whole) = (figures.join(name), fs::read(figures.join(name)).unwrap());
        fs::write(&path, text).unwrap();
        move || fs::write(&path, &whole).unwrap()
    };
    let mend = damage("evolution.json", "{\"epochs\":[1]");
    said(1, &["evolution.json", "visualize evolution"]);
    mend();
    let mend = damage("top9-conv1.png", "no picture");
    said(1, &["top9-conv1.png", "not a PNG"]);
    mend();
    let text = fs::read_to_string(figures.join("occlusion-a.json")).unwrap().replace("[1,5]", "[1,5,7]");
    let mend = damage("occlusion-a.json", &text);
    said(1, &["occlusion-a.json", "visualize occlusion"]);
    mend();
    let (status, _, stderr) = program(&["--checkpoint", "epoch-9"], &run);
    assert!(status == Some(2) && stderr.contains("no checkpoint epoch-9"), "{stderr}");
}

/// The first browser on PATH that can run without a screen.
fn browser() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|p| p.is_file());
    if found.is_none() {
        println!("SKIP: none of {} is on PATH", names.join(", "));
    }
    found
}

/// Runs the page as a frame 390 pixels wide, plays with it, and leaves what it found in the
/// document's title. A frame, because a browser's window has a least width of its own.
const PLAYER: &str = r##"<!doctype html><meta charset="utf-8"><title>waiting</title><body style="margin:0"><script>
const errors = [];
const frame = document.createElement("iframe");
frame.style.cssText = "width:390px;height:844px;border:0";
const run = async () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  view.addEventListener("error", (e) => errors.push(e.message));
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await Promise.all([...page.images].map((img) => img.decode().catch(() => 0)));
  await wait(300);
  const key = (element, name) => element.dispatchEvent(new view.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const found = { errors, images: page.images.length, broken: [...page.images].filter((i) => !i.naturalWidth).length };
  found.width = page.documentElement.scrollWidth;
  // Read from a copy: a canvas that is read itself is slowed down, and the console says so.
  const ink = (canvas) => {
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    return context.getImageData(0, 0, copy.width, copy.height).data.reduce((a, v, i) => (a * 31 + v * (i % 251)) % 1000003, 7);
  };

  const film = page.querySelector(".film canvas"), slider = page.getElementById("epoch");
  found.films = [0, 1, 2].map((value) => { slider.value = value; slider.dispatchEvent(new view.Event("input")); return [page.getElementById("epoch-now").textContent, ink(film)]; });

  const grid = page.querySelector(".tiles"), zoom = page.getElementById("zoom");
  grid.focus(); key(grid, "Enter");
  found.zoom = [[zoom.open, zoom.querySelector("p").textContent, ink(zoom.querySelector("canvas"))]];
  key(zoom, "ArrowRight");
  found.zoom.push([zoom.open, zoom.querySelector("p").textContent, ink(zoom.querySelector("canvas"))]);
  key(zoom, "ArrowDown");
  found.zoom.push([zoom.open, zoom.querySelector("p").textContent, ink(zoom.querySelector("canvas"))]);
  zoom.close();
  found.closed = !zoom.open;
  const box = grid.getBoundingClientRect(), layout = JSON.parse(grid.dataset.grid).layout, scale = grid.querySelector("img").clientWidth / grid.querySelector("img").naturalWidth;
  const at = { clientX: box.left + (layout.left + layout.step + 3) * scale, clientY: box.top + (layout.top + 3) * scale, bubbles: true, pointerType: "mouse" };
  grid.dispatchEvent(new view.PointerEvent("pointermove", at));
  found.lens = [!page.getElementById("lens").hidden, page.querySelector("#lens p").textContent];
  grid.dispatchEvent(new view.PointerEvent("pointerleave", at));
  grid.dispatchEvent(new view.MouseEvent("click", at));
  found.clicked = [zoom.open, zoom.querySelector("p").textContent];
  zoom.close();

  const seen = page.querySelector(".seen"), told = page.querySelector(".occluder output");
  found.occluder = [told.textContent];
  found.moved = [ink(seen)];
  key(seen, "ArrowLeft"); found.occluder.push(told.textContent); found.moved.push(ink(seen));
  key(seen, "ArrowUp"); found.occluder.push(told.textContent);
  const frameBox = seen.getBoundingClientRect();
  seen.dispatchEvent(new view.PointerEvent("pointerdown", { clientX: frameBox.left + frameBox.width * 0.72, clientY: frameBox.top + frameBox.height * 0.83, bubbles: true }));
  found.occluder.push(told.textContent);

  const chart = page.querySelector(".chart svg"), value = page.querySelector(".chart output");
  chart.focus(); key(chart, "ArrowLeft"); key(chart, "ArrowLeft");
  found.chart = value.textContent;
  document.title = JSON.stringify(found);
};
frame.addEventListener("load", () => run().catch((e) => { document.title = JSON.stringify({ failed: String(e) }); }));
frame.srcdoc = new TextDecoder().decode(Uint8Array.from(atob("PAGE"), (c) => c.charCodeAt(0)));
document.body.append(frame);
</script>"##;

/// What [`PLAYER`] found, and what the browser wrote to its console.
fn play(browser: &Path, folder: &Path, page: &str) -> (Value, Vec<String>) {
    use base64::Engine;
    let file = folder.join("player.html");
    let encoded = base64::engine::general_purpose::STANDARD.encode(page);
    fs::write(&file, PLAYER.replace("PAGE", &encoded)).unwrap();
    let run = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .args(["--virtual-time-budget=10000", "--window-size=800,900"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
    let found = title.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let found = serde_json::from_str(&found).unwrap_or_else(|e| panic!("{e}: {title}\n{log}"));
    (found, log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect())
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else { return };
    let (folder, run) = illustrated();
    assert_eq!(program(&[], &run).0, Some(0));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    let (found, console) = play(&browser, folder.path(), &page);
    assert!(console.is_empty(), "{console:?}");
    assert_eq!(found["errors"], json!([]), "{found}");
    assert_eq!(found["failed"], Value::Null, "{found}");
    assert_eq!(found["broken"], 0, "{found}");
    assert_eq!(found["images"].as_u64(), Some(page.matches("<img").count() as u64));
    assert!(found["width"].as_u64().unwrap() <= 390, "wider than a phone: {}", found["width"]);

    let films = found["films"].as_array().unwrap();
    let epochs: Vec<&str> = films.iter().map(|film| film[0].as_str().unwrap()).collect();
    assert_eq!(epochs, ["1", "2", "4"]);
    assert!(
        films[0][1] != films[2][1] && films.iter().all(|film| film[1] != 0),
        "the slider changes nothing: {films:?}"
    );

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (first, second) = (&found["zoom"][0], &found["zoom"][1]);
    assert_eq!((&first[0], &second[0], &found["closed"]), (&json!(true), &json!(true), &json!(true)), "{found}");
    assert!(text(&first[1]).starts_with("map 0,") && first[1] != second[1], "{found}");
    // All units of a layer-1 map look alike; those of the map below do not.
    let below = &found["zoom"][2];
    assert!(text(&below[1]).starts_with("map 1") && first[2] != below[2] && first[2] != 0, "{found}");
    // The pointer stands on the tile that the arrow key had reached.
    assert_eq!((&found["lens"][0], &found["lens"][1]), (&json!(true), &second[1]), "{found}");
    assert_eq!((&found["clicked"][0], &found["clicked"][1]), (&json!(true), &second[1]), "{found}");

    // It begins where the probability is least.
    let told: Vec<String> = found["occluder"].as_array().unwrap().iter().map(text).collect();
    assert!(told[0].contains("row 3, column 5") && told[0].contains("p(green) = 0.125"), "{told:?}");
    assert!(told[0].contains("most probable: red"), "{told:?}");
    assert!(told[1].contains("row 3, column 1") && told[1].contains("0.700"), "{told:?}");
    assert!(told[2].contains("row 0, column 1") && told[2].contains("0.900"), "{told:?}");
    assert!(told[3].contains("row 6, column 5") && told[3].contains("blue"), "{told:?}");
    assert_ne!(found["moved"][0], found["moved"][1]);
    assert!(text(&found["chart"]).starts_with("epoch 2: training "), "{}", found["chart"]);
}
