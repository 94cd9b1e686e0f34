"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const loaded = (img) => img.decode().catch(() => undefined);
/* The step an arrow key asks for, [down, right]; undefined for other keys. */
const arrow = (event) => ({ ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] })[event.key];

/* Charts: values where the pointer or the arrow keys are. */
for (const figure of all(".chart")) {
  const { x, xs, at, series } = JSON.parse(figure.dataset.chart);
  const svg = figure.querySelector("svg"), probe = svg.querySelector(".probe"), out = figure.querySelector("output");
  let now = xs.length - 1;
  const short = (v) => (v === null ? "-" : String(Number(v.toPrecision(4))));
  const show = (i) => {
    now = clamp(i, 0, xs.length - 1);
    probe.setAttribute("x1", at[now]);
    probe.setAttribute("x2", at[now]);
    probe.setAttribute("visibility", "visible");
    out.textContent = `${x} ${xs[now]}: ` + series.map(([name, ys]) => `${name} ${short(ys[now])}`).join(", ");
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(at.reduce((best, p, i) => (Math.abs(p - place) < Math.abs(at[best] - place) ? i : best), 0));
  });
  svg.addEventListener("focus", () => show(now));
  svg.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (step && step[1]) { event.preventDefault(); show(now + step[1]); }
  });
}

/* Grids of tiles: a lens under the pointer, a dialog for the tile that is chosen. */
const corner = ({ left, top, step, columns, gap }, row, column) =>
  [left + column * step + Math.floor(column / columns) * gap, top + row * step];
const copy = (canvas, img, { side }, [left, top], pixels) => {
  canvas.width = canvas.height = pixels;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(img, left, top, side, side, 0, 0, pixels, pixels);
};
const zoom = document.getElementById("zoom"), lens = document.getElementById("lens");
for (const grid of all(".tiles")) {
  const { layout, captions } = JSON.parse(grid.dataset.grid);
  const img = grid.querySelector("img"), cursor = grid.querySelector(".cursor");
  const columns = layout.groups * layout.columns;
  let row = 0, column = 0;
  const find = (event) => {
    const box = grid.getBoundingClientRect(), scale = img.naturalWidth / img.clientWidth;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    for (let c = 0; c < columns; c++) {
      const r = Math.floor((y - layout.top) / layout.step), [left] = corner(layout, 0, c);
      if (r >= 0 && r < layout.rows && x >= left && x < left + layout.side) return [r, c];
    }
    return undefined;
  };
  const select = (r, c) => {
    [row, column] = [clamp(r, 0, layout.rows - 1), clamp(c, 0, columns - 1)];
    const scale = img.clientWidth / img.naturalWidth, [left, top] = corner(layout, row, column);
    const [x, y, side] = [left * scale - 2, top * scale - 2, layout.side * scale + 4];
    Object.assign(cursor.style, { left: `${x}px`, top: `${y}px`, width: `${side}px`, height: `${side}px` });
    cursor.hidden = false;
  };
  const enlarge = () => {
    copy(zoom.querySelector("canvas"), img, layout, corner(layout, row, column), 672);
    zoom.querySelector("p").textContent = captions[row][column];
    lens.hidden = true;
    if (!zoom.open) zoom.showModal();
    zoom.step = (step) => { select(row + step[0], column + step[1]); enlarge(); };
  };
  grid.addEventListener("pointermove", (event) => {
    const tile = event.pointerType === "mouse" && !zoom.open ? find(event) : undefined;
    lens.hidden = !tile;
    if (!tile) return;
    copy(lens.querySelector("canvas"), img, layout, corner(layout, ...tile), 500);
    lens.querySelector("p").textContent = captions[tile[0]][tile[1]];
    const right = event.clientX + 310 < innerWidth;
    lens.style.left = `${Math.max(0, right ? event.clientX + 24 : event.clientX - 294)}px`;
    lens.style.top = `${clamp(event.clientY - 140, 4, Math.max(4, innerHeight - 330))}px`;
  });
  grid.addEventListener("pointerleave", () => { lens.hidden = true; });
  grid.addEventListener("click", (event) => {
    const tile = find(event);
    if (tile) { select(...tile); enlarge(); }
  });
  grid.addEventListener("focus", () => select(row, column));
  grid.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (step) { event.preventDefault(); select(row + step[0], column + step[1]); cursor.scrollIntoView({ block: "nearest", inline: "nearest" }); }
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(); }
  });
}
zoom.addEventListener("keydown", (event) => {
  const step = arrow(event);
  if (step) { event.preventDefault(); zoom.step(step); }
});
zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });

/* Evolution: the tiles of one epoch, projections above their patches. */
const slider = document.getElementById("epoch");
if (slider) {
  const epochs = JSON.parse(slider.dataset.epochs), now = document.getElementById("epoch-now");
  const draw = (film, epoch) => {
    const { layout, maps, jumps } = JSON.parse(film.dataset.film);
    const canvas = film.querySelector("canvas"), img = film.querySelector("img");
    // Tiles of all layers come out alike, whatever the size of their fields.
    const side = 96, pitch = side + 6, head = 24;
    canvas.width = maps.length * pitch + 6;
    canvas.height = head + 2 * pitch;
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.textAlign = "center";
    context.font = "16px system-ui, sans-serif";
    maps.forEach((map, row) => {
      const x = 6 + row * pitch;
      context.fillStyle = "#333";
      context.fillText(`map ${map}`, x + side / 2, 17, side);
      context.fillStyle = "#e66100";
      for (const half of [0, 1]) {
        const y = head + half * pitch, [left, top] = corner(layout, row, epoch + half * layout.columns);
        if (jumps[epoch].includes(row)) context.fillRect(x - 3, y - 3, side + 6, side + 6);
        context.drawImage(img, left, top, layout.side, layout.side, x, y, side, side);
      }
    });
  };
  const show = () => {
    now.textContent = epochs[slider.value];
    slider.setAttribute("aria-valuetext", `epoch ${epochs[slider.value]}`);
    all(".film").forEach((film) => draw(film, Number(slider.value)));
  };
  slider.addEventListener("input", show);
  Promise.all(all(".film img").map(loaded)).then(show);
}

/* Occlusion: a square to move, and what the network says there. */
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const viridis = (v) => {
  const place = clamp(v, 0, 1) * (STOPS.length - 1), i = Math.min(Math.floor(place), STOPS.length - 2), f = place - i;
  return `rgb(${STOPS[i].map((a, c) => Math.round(a + f * (STOPS[i + 1][c] - a))).join(" ")})`;
};
const CLASSES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8a8a8a", "#5b3a8e", "#7a4a12"];
const colour = (label) => CLASSES[label % CLASSES.length];
for (const box of all(".occluder")) {
  const data = JSON.parse(box.dataset.occluder), { tops, lefts, side, classes } = data;
  const img = box.querySelector("img.crop"), seen = box.querySelector(".seen"), out = box.querySelector("output");
  const columns = lefts.length, p = data.probability;
  let row = 0, column = 0;
  const worst = p.indexOf(Math.min(...p));
  const maps = [[box.querySelector(".p"), (i) => viridis(p[i])], [box.querySelector(".label"), (i) => colour(data.labels[i])]];
  const map = (canvas, fill) => {
    const cell = Math.max(4, Math.floor(360 / columns)), context = canvas.getContext("2d");
    [canvas.width, canvas.height] = [cell * columns, cell * tops.length];
    p.forEach((_, i) => { context.fillStyle = fill(i); context.fillRect((i % columns) * cell, Math.floor(i / columns) * cell, cell, cell); });
    context.lineWidth = 3;
    for (const [style, inset] of [["#000", 1], ["#fff", 3]]) {
      context.strokeStyle = style;
      context.lineWidth = 2;
      context.strokeRect(column * cell + inset, row * cell + inset, cell - 2 * inset, cell - 2 * inset);
    }
  };
  const show = (r, c) => {
    [row, column] = [clamp(r, 0, tops.length - 1), clamp(c, 0, columns - 1)];
    const scale = Math.max(1, Math.floor(512 / img.naturalWidth)), context = seen.getContext("2d");
    [seen.width, seen.height] = [img.naturalWidth * scale, img.naturalHeight * scale];
    context.imageSmoothingEnabled = false;
    context.drawImage(img, 0, 0, seen.width, seen.height);
    context.fillStyle = "#808080";
    context.fillRect(lefts[column] * scale, tops[row] * scale, side * scale, side * scale);
    context.strokeStyle = "#fff";
    context.strokeRect(lefts[column] * scale, tops[row] * scale, side * scale, side * scale);
    maps.forEach(([canvas, fill]) => map(canvas, fill));
    const i = row * columns + column;
    out.textContent = `${side} px square at row ${tops[row]}, column ${lefts[column]}: p(${classes[data.class]}) = ${p[i].toFixed(3)}` +
      `, most probable: ${classes[data.labels[i]]}`;
  };
  const move = (canvas, offset) => (event) => {
    if (event.type === "pointermove" && !event.buttons && canvas === seen) return;
    const frame = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    const nearest = (starts, place) => starts.reduce((best, s, i) => (Math.abs(s + offset - place) < Math.abs(starts[best] + offset - place) ? i : best), 0);
    if (canvas === seen) show(nearest(tops, y * img.naturalHeight), nearest(lefts, x * img.naturalWidth));
    else show(Math.floor(y * tops.length), Math.floor(x * columns));
  };
  for (const canvas of [seen, ...maps.map(([c]) => c)]) {
    for (const kind of ["pointerdown", "pointermove"]) canvas.addEventListener(kind, move(canvas, side / 2));
  }
  seen.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (step) { event.preventDefault(); show(row + step[0], column + step[1]); }
  });
  const bar = box.querySelector(".bar"), ramp = document.createElement("i");
  ramp.style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(viridis).join(", ")})`;
  bar.append("0", ramp, "1");
  for (const label of [...new Set(data.labels)].sort((a, b) => a - b)) {
    const entry = document.createElement("span"), key = document.createElement("i");
    key.className = "key box";
    key.style.background = colour(label);
    entry.append(key, classes[label]);
    box.querySelector(".legend").append(entry);
  }
  loaded(img).then(() => show(Math.floor(worst / columns), worst % columns));
}
