// One side of the player: decoding a clip into a texture array, and drawing a view of it.
//
// Every frame of both clips is decoded once into a WebGL 2 texture array, so that the two sides always show the same
// frame number and stepping is exact. A pixel's colour is looked up along its own viewing direction: longitude repeats
// (REPEAT on S), latitude stops at the poles (CLAMP on T), filtering is LINEAR and there are no mipmaps, because a
// mipmap level would be chosen from the jump of the longitude at 180 degrees and draw a seam of its own.
//
// Conventions as in core/sphere.py: x right, y up, z forward; longitude 0 is the picture's centre and grows to the
// right; yaw > 0 looks right, pitch > 0 looks up.

const VERTEX = `#version 300 es
out vec2 screen;  // -1..1, y up
void main() {
  screen = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(screen, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler2DArray;
uniform sampler2DArray clip;
uniform float layer;
uniform vec2 extent;  // tangents of half the field of view; flat: canvas size in units of the picture's size
uniform mat3 view;    // columns: right, up, forward
uniform bool flat_;
in vec2 screen;
out vec4 color;
const float PI = 3.14159265358979;
void main() {
  vec2 at;
  if (flat_) {  // the whole picture turned by 180 degrees, so that its ends meet in the middle
    vec2 p = screen * extent * 0.5;
    if (abs(p.x) > 0.5 || abs(p.y) > 0.5) { color = vec4(0.082, 0.098, 0.106, 1.0); return; }
    at = vec2(p.x + 1.0, 0.5 - p.y);
  } else {
    vec3 d = normalize(view * vec3(screen * extent, 1.0));
    at = vec2(atan(d.x, d.z) / (2.0 * PI) + 0.5, 0.5 - asin(clamp(d.y, -1.0, 1.0)) / PI);
  }
  color = vec4(textureLod(clip, vec3(at, layer), 0.0).rgb, 1.0);
}`;

function program(gl) {
  const built = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(built, shader);
  }
  gl.linkProgram(built);
  if (!gl.getProgramParameter(built, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(built) || "link failed");
  return built;
}

// One side: a canvas, its context and the texture array with all frames of the current clip.
class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { alpha: false, antialias: false, powerPreference: "high-performance" });
    if (!this.gl) return;
    this.program = program(this.gl);
    this.at = (name) => this.gl.getUniformLocation(this.program, name);
    this.texture = null;
  }

  // Decode all frames of a clip: seek to the middle of each frame's time and copy what the video shows then.
  async load(url, { frames, fps, width, height }, alive, progress) {
    const gl = this.gl;
    if (this.texture && this.url === url.href) return;  // the feedback shows the videos of its trial once more
    const response = await fetch(url, { credentials: "same-origin" });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const source = URL.createObjectURL(await response.blob());
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    const texture = gl.createTexture();
    try {
      const ready = event(video, "loadeddata");
      video.src = source;
      await ready;
      if (video.videoWidth !== width || video.videoHeight !== height) throw new Error("unexpected video size");
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
      gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA8, width, height, frames);
      for (const [name, value] of [["WRAP_S", "REPEAT"], ["WRAP_T", "CLAMP_TO_EDGE"], ["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"]]) {
        gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl[`TEXTURE_${name}`], gl[value]);
      }
      for (let frame = 0; frame < frames; frame++) {
        const shown = event(video, "seeked");
        video.currentTime = (frame + 0.5) / fps;
        await shown;
        if (!alive()) throw new Error("superseded");
        gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
        gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, frame, width, height, 1, gl.RGBA, gl.UNSIGNED_BYTE, video);
        progress();
      }
      if (gl.getError() !== gl.NO_ERROR) throw new Error("out of graphics memory");
      gl.deleteTexture(this.texture);
      this.texture = texture;
      this.url = url.href;
    } catch (error) {
      gl.deleteTexture(texture);
      throw error;
    } finally {
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(source);
    }
  }

  draw(state, frame) {
    const { gl, canvas } = this;
    if (!gl || !this.texture || gl.isContextLost()) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.useProgram(this.program);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.texture);
    const short = Math.min(width, height);
    const tangent = Math.tan((state.fov * Math.PI) / 360);
    const flat = state.mode === "flat";
    const picture = Math.min(width, 2 * height);  // width of the flat 2:1 picture on this canvas
    gl.uniform1i(this.at("clip"), 0);
    gl.uniform1f(this.at("layer"), frame);
    gl.uniform1i(this.at("flat_"), flat ? 1 : 0);
    if (flat) gl.uniform2f(this.at("extent"), width / picture, height / (picture / 2));
    else gl.uniform2f(this.at("extent"), (tangent * width) / short, (tangent * height) / short);
    gl.uniformMatrix3fv(this.at("view"), false, axes(state.yaw, state.pitch));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  release() {
    this.gl?.deleteTexture(this.texture);
    this.texture = null;
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function event(video, name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(video.error?.message || "cannot be decoded")), { once: true });
  });
}

// Right, up and forward of a viewer who looks to (yaw, pitch), in degrees, as the columns of a 3 x 3 matrix.
function axes(yawDegrees, pitchDegrees) {
  const yaw = (yawDegrees * Math.PI) / 180, pitch = (pitchDegrees * Math.PI) / 180;
  const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
  return [cy, 0, -sy, -sy * sp, cp, -cy * sp, sy * cp, sp, cy * cp];
}

