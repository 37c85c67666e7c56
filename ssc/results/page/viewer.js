// A scan and label maps of it in NiiVue: three planes and 3D, layers that can be hidden, a disagreement of two of them.
"use strict";

const LAYOUTS = ["all planes and 3D", "axial", "coronal", "sagittal", "3D"];
const DISAGREEMENT = "#ff00ff"; // unlike any structure's colour

class Viewer {
  // canvas: of the page; structures: [{label, colour}] of the values 1, 2, …; onPlace(text): where the crosshair is
  constructor(canvas, structures, onPlace) {
    this.structures = structures;
    this.onPlace = onPlace;
    this.layers = [];
    this.opacity = 0.6;
    this.outlined = false;
    this.shown = LAYOUTS[0];
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 1, 1, 0.5],
      crosshairWidth: 0.5,
      show3Dcrosshair: true,
      isRadiologicalConvention: true,
      multiplanarShowRender: 1, // always
      dragAndDropEnabled: false,
      logLevel: "error",
    });
    this.nv.onLocationChange = (place) => this.onPlace(this.describe(place));
    this.ready = this.nv.attachToCanvas(canvas);
  }

  // scan: a .nii.gz in base64, or null where scans may not be shown; layers: [{name, data, shown}] of label maps
  async show(scan, layers) {
    await this.ready;
    while (this.nv.volumes.length) this.nv.removeVolume(this.nv.volumes[0]);
    await this.nv.loadFromArrayBuffer(bytes(scan ?? layers[0].data), "scan.nii.gz");
    const base = this.nv.volumes[0];
    if (scan === null) base.img.fill(0);
    const [low, high] = scan === null ? [0, 1] : [base.cal_min, base.cal_max];
    this.range = scan === null ? [0, 1] : [base.global_min, base.global_max];
    this.layers = [];
    for (const layer of layers) {
      await this.nv.loadFromArrayBuffer(bytes(layer.data), `${this.layers.length}.nii.gz`);
      const volume = this.nv.volumes.at(-1);
      volume.setColormapLabel(lookup(["#000000", ...this.structures.map((structure) => structure.colour)]));
      this.layers.push({ ...layer, volume });
    }
    this.window(low, high);
    this.draw();
    this.centre();
  }

  // A layer, hidden at first, of the voxels where two layers differ.
  async disagreement(first, second, key) {
    const [a, b] = [first, second].map((name) => this.layers.find((layer) => layer.name === name));
    await this.nv.loadFromArrayBuffer(bytes(a.data), "difference.nii.gz");
    const volume = this.nv.volumes.at(-1);
    for (let i = 0; i < volume.img.length; i++) volume.img[i] = a.volume.img[i] === b.volume.img[i] ? 0 : 1;
    volume.setColormapLabel(lookup(["#000000", DISAGREEMENT]));
    this.layers.push({ name: "disagreement", volume, key, shown: false });
    this.draw();
  }

  draw() {
    for (const { volume, shown } of this.layers) volume.opacity = shown ? this.opacity : 0;
    this.nv.updateGLVolume();
    this.nv.drawScene();
  }

  toggle(name, shown) {
    for (const layer of this.layers) if (layer.name === name) layer.shown = shown;
    this.draw();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  outline(outlined) {
    this.outlined = outlined;
    this.nv.setAtlasOutline(outlined ? 1 : 0);
  }

  layout(name) {
    this.shown = name;
    this.nv.setSliceType([3, 0, 1, 2, 4][LAYOUTS.indexOf(name)]); // NiiVue: axial, coronal, sagittal, multiplanar, render
  }

  window(low, high) {
    Object.assign(this.nv.volumes[0], { cal_min: low, cal_max: high });
    this.nv.updateGLVolume();
  }

  move(slices) {
    this.nv.moveCrosshairInVox(0, 0, slices);
  }

  get slice() {
    return this.nv.frac2vox(this.nv.scene.crosshairPos)[2];
  }

  set slice(number) {
    this.move(number - this.slice);
  }

  // The crosshair into the middle of what the first layer labels.
  centre() {
    const { volume } = this.layers[0];
    const [, width, height] = volume.dimsRAS; // NiiVue counts voxels to the right, front and head, however they are stored
    const sum = [0, 0, 0];
    let count = 0;
    volume.img2RAS().forEach((value, i) => {
      if (value === 0) return;
      count += 1;
      sum[0] += i % width;
      sum[1] += Math.floor(i / width) % height;
      sum[2] += Math.floor(i / (width * height));
    });
    if (count === 0) return;
    this.nv.scene.crosshairPos = this.nv.vox2frac(sum.map((total) => Math.round(total / count)));
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  describe(place) {
    const names = this.layers.map(({ name, volume }) => {
      const value = volume.getValue(...place.vox.slice(0, 3));
      return `${name}: ${name === "disagreement" ? (value ? "yes" : "no") : (this.structures[value - 1]?.label ?? "none")}`;
    });
    return [`slice ${place.vox[2] + 1}`, ...names].join(" · ");
  }
}

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;

// NiiVue's table of colours of the values 0, 1, …; 0 cannot be seen.
function lookup(colours) {
  const channel = (start) => colours.map((colour) => parseInt(colour.slice(start, start + 2), 16));
  return {
    R: channel(1),
    G: channel(3),
    B: channel(5),
    A: colours.map((_, value) => (value === 0 ? 0 : 255)),
    I: colours.map((_, value) => value),
    labels: colours.map((_, value) => `${value}`),
  };
}

// An element with attributes, listeners (on…) and children; texts stay texts.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const select = (label, options, chosen, onchange) =>
  make(
    "label",
    {},
    `${label} `,
    make(
      "select",
      { "data-name": label, onchange: (event) => onchange(event.target.value) },
      ...options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)),
    ),
  );

const slider = (label, [min, max], value, oninput) =>
  make(
    "label",
    {},
    `${label} `,
    make("input", { type: "range", min, max, step: (max - min) / 100, value, oninput: (event) => oninput(+event.target.value) }),
  );

const box = (label, checked, onchange) =>
  make("label", {}, make("input", { type: "checkbox", "data-name": label, checked, onchange: (event) => onchange(event.target.checked) }), ` ${label}`);

// What a viewer can do, as controls. Layers get the keys that their entry names.
function viewerControls(viewer, place) {
  const [low, high] = [viewer.nv.volumes[0].cal_min, viewer.nv.volumes[0].cal_max];
  const bounds = { low, high };
  const windowed = (name) => (value) => viewer.window(...Object.values(Object.assign(bounds, { [name]: value })));
  const boxes = viewer.layers.map((layer) => {
    const made = box(`${layer.name} (${layer.key})`, layer.shown, (shown) => viewer.toggle(layer.name, shown));
    made.querySelector("input").dataset.key = layer.key;
    return made;
  });
  place.replaceChildren(
    make("fieldset", {}, make("legend", {}, "layers"), ...boxes),
    make(
      "fieldset",
      {},
      make("legend", {}, "look"),
      select("show", LAYOUTS.map((name) => [name, name]), viewer.shown, (name) => viewer.layout(name)),
      slider("opacity", [0, 1], viewer.opacity, (value) => viewer.setOpacity(value)),
      box("outlines", viewer.outlined, (outlined) => viewer.outline(outlined)),
      slider("darkest", viewer.range, low, windowed("low")),
      slider("brightest", viewer.range, high, windowed("high")),
    ),
  );
}

// Whether a key is meant for the control that has the focus, or for the web browser.
const typing = ({ target, ctrlKey, metaKey, altKey }) =>
  ctrlKey || metaKey || altKey || target.tagName === "SELECT" || (target.tagName === "INPUT" && target.type !== "checkbox");

// Keys of a viewer on the page: arrows for slices, letters for layers. Returns whether the key was one of them.
function viewerKey(viewer, event, place) {
  if (typing(event)) return false;
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const checkbox = [...place.querySelectorAll("input[data-key]")].find((input) => input.dataset.key === event.key);
  if (step) viewer.move(step);
  else if (checkbox) checkbox.click();
  else return false;
  event.preventDefault();
  return true;
}

const legend = (structures) =>
  structures.map(({ label, colour }) => {
    const patch = make("span", { class: "patch", "aria-hidden": "true" });
    patch.style.background = colour;
    return make("li", {}, patch, ` ${label}`);
  });

Object.assign(globalThis, { Viewer, viewerControls, viewerKey, typing, legend, make, select, slider, box }); // for others
