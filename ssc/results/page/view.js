// The page of one scan: `shown` holds structures, the scan, and its label maps.
"use strict";

(async () => {
  const [controls, place] = [document.getElementById("controls"), document.getElementById("place")];
  const viewer = new Viewer(document.getElementById("canvas"), shown.structures, (text) => (place.textContent = text));
  document.getElementById("legend").append(...legend(shown.structures));
  const layers = shown.layers.map((layer, i) => ({ ...layer, key: "ptd"[i], shown: i === 0 }));
  await viewer.show(shown.scan, layers);
  if (layers.length === 2) await viewer.disagreement(layers[0].name, layers[1].name, "d");
  viewerControls(viewer, controls);
  document.addEventListener("keydown", (event) => viewerKey(viewer, event, controls));
  document.body.dataset.ready = "yes";
})();
