// Whether this browser can show the study: WebGL 2, a clip of the study that decodes, a window wide enough.

const WAIT = 20000;  // milliseconds for the clip to load

async function problem({ url, width }) {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return "webgl";
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.preload = "auto";
  const loaded = new Promise((resolve) => {
    video.addEventListener("loadeddata", () => resolve(video.videoWidth > 0), { once: true });
    video.addEventListener("error", () => resolve(false), { once: true });
    setTimeout(() => resolve(false), WAIT);
  });
  video.src = new URL(url, document.baseURI);
  const plays = await loaded;
  video.removeAttribute("src");
  video.load();
  if (!plays) return "codec";
  return window.innerWidth < width ? "small" : "";
}

const running = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const report = async () => {
    if (running.get(parentElement)) return;
    running.set(parentElement, true);
    const found = await problem(data);
    running.delete(parentElement);
    parentElement.querySelector(".check").dataset.result = found || "good";
    setStateValue("result", found || "good");
  };
  const first = !parentElement.dataset?.checked;
  if (first) {
    if (parentElement.dataset) parentElement.dataset.checked = "yes";
    report();
  }
  window.addEventListener("resize", report);
  return () => window.removeEventListener("resize", report);
}
