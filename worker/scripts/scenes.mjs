// Landscapes for the screenshots, painted by a browser, so that nobody's photo is
// needed: a sky, ridges that fade into it, trees, water that mirrors it all, grain.
// Each is the same every time, by its seed. This module runs in the browser.

/** @typedef {{ name: string, width: number, height: number, seed: number, sky: string[], light: [number, number, number, string], ridges: [string, string, number], from: number, to: number, rough: number, trees?: number, water?: number, stars?: boolean }} Scene */

/** Colors of the sky from above; x, y, size and color of sun or moon; far and near color of
 * the ridges and how many; where the first and the last begin, as shares of the height.
 * @type {Scene[]} */
export const scenes = [
  {
    name: "Mountains at dawn",
    width: 2400,
    height: 1600,
    seed: 11,
    rough: 0.5,
    sky: ["#27406e", "#7d86b3", "#f0b69a", "#ffe3bd"],
    light: [0.66, 0.47, 0.05, "#fff3d6"],
    ridges: ["#d9a8a0", "#1c2740", 6],
    from: 0.46,
    to: 0.9,
  },
  {
    name: "A lake at night",
    width: 1600,
    height: 2200,
    seed: 23,
    rough: 0.48,
    stars: true,
    water: 0.66,
    trees: 60,
    sky: ["#050b1e", "#0e2144", "#27507e", "#5b87a6"],
    light: [0.3, 0.22, 0.035, "#f4f1df"],
    ridges: ["#3c6388", "#060d1a", 4],
    from: 0.48,
    to: 0.64,
  },
  {
    name: "Dunes",
    width: 2400,
    height: 1500,
    seed: 37,
    rough: 0.18,
    sky: ["#6fa7d2", "#a9cbe0", "#f4dcb5", "#fbe6c4"],
    light: [0.2, 0.3, 0.04, "#fffbe8"],
    ridges: ["#e9bf86", "#8f4a24", 5],
    from: 0.5,
    to: 0.86,
  },
  {
    name: "Forest in the mist",
    width: 1600,
    height: 2000,
    seed: 41,
    rough: 0.42,
    trees: 120,
    sky: ["#b9c8c4", "#d4ddd6", "#e8ebdf", "#f0efe2"],
    light: [0.6, 0.2, 0.06, "#fffdf0"],
    ridges: ["#b8c9bf", "#16302a", 6],
    from: 0.36,
    to: 0.88,
  },
  {
    name: "The sea at noon",
    width: 2560,
    height: 1440,
    seed: 53,
    rough: 0.4,
    water: 0.5,
    sky: ["#2f7fc4", "#63aade", "#a5d3ec", "#d8eef4"],
    light: [0.76, 0.18, 0.05, "#ffffff"],
    ridges: ["#8fb4c8", "#54788c", 2],
    from: 0.455,
    to: 0.485,
  },
  {
    name: "Hills in spring",
    width: 2400,
    height: 1600,
    seed: 67,
    rough: 0.3,
    trees: 26,
    sky: ["#5f9fd8", "#97c4e8", "#cfe5ee", "#eef4e4"],
    light: [0.32, 0.22, 0.045, "#fffef2"],
    ridges: ["#a9c7a8", "#2f6b34", 5],
    from: 0.5,
    to: 0.86,
  },
  {
    name: "Red rocks",
    width: 2000,
    height: 2000,
    seed: 79,
    rough: 0.62,
    sky: ["#3a5f93", "#8ba6c6", "#f1c59b", "#fbdcae"],
    light: [0.8, 0.36, 0.045, "#fff2d0"],
    ridges: ["#e2a07b", "#5a1f17", 5],
    from: 0.46,
    to: 0.88,
  },
  {
    name: "A winter evening",
    width: 2400,
    height: 1350,
    seed: 83,
    rough: 0.45,
    trees: 90,
    sky: ["#3d4a7c", "#7f83b4", "#d9a9b6", "#f3d3c4"],
    light: [0.5, 0.5, 0.035, "#ffe9dc"],
    ridges: ["#c6b7ca", "#39436a", 5],
    from: 0.52,
    to: 0.88,
  },
  {
    name: "Autumn at the lake",
    width: 2400,
    height: 1600,
    seed: 97,
    rough: 0.4,
    trees: 110,
    water: 0.62,
    sky: ["#5c88ad", "#a3bfce", "#ecd9b4", "#f6e3bb"],
    light: [0.24, 0.34, 0.04, "#fff6dc"],
    ridges: ["#c9a886", "#7a3413", 4],
    from: 0.46,
    to: 0.6,
  },
];

/** Numbers from 0 to 1 that are the same for the same seed. */
function randomOf(seed) {
  let state = seed * 2654435761;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const channels = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));

/** The color between a and b. */
function mix(a, b, share) {
  const target = channels(b);
  const mixed = channels(a).map((value, i) => Math.round(value + (target[i] - value) * share));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

function paintSky(draw, { width, height, sky, light, stars, from, to, water = 1 }, random) {
  const air = draw.createLinearGradient(0, 0, 0, height * Math.min(water, (to + from) / 2));
  for (const [i, color] of sky.entries()) air.addColorStop(i / (sky.length - 1), color);
  draw.fillStyle = air;
  draw.fillRect(0, 0, width, height);
  for (let i = 0; stars && i < 700; i++) {
    draw.fillStyle = `rgb(255 255 255 / ${random() * 0.8})`;
    const size = 1 + random() * 2.4;
    draw.fillRect(random() * width, random() ** 1.5 * height * from, size, size);
  }
  const [x, y, size] = [light[0] * width, light[1] * height, light[2] * height];
  for (const [inner, radius, first] of [
    [0, size * 9, `${light[3]}aa`],
    [size * 0.96, size, light[3]],
  ]) {
    const glow = draw.createRadialGradient(x, y, inner, x, y, radius);
    glow.addColorStop(0, first);
    glow.addColorStop(1, `${light[3]}00`);
    draw.fillStyle = glow;
    draw.fillRect(0, 0, width, height);
  }
}

/** Waves of noise, each half as long as the one before and `rough` times as high. Returns
 * how high their sum is at a place. */
function noise(width, length, rise, rough, random) {
  const waves = [];
  for (; length > 6; length /= 2, rise *= rough) {
    waves.push({ length, rise, points: Array.from({ length: Math.ceil(width / length) + 3 }, () => random() - 0.5) });
  }
  return (at) =>
    waves.reduce((sum, wave) => {
      const i = Math.floor(at / wave.length);
      const t = at / wave.length - i;
      const smooth = t * t * (3 - 2 * t);
      return sum + wave.rise * (wave.points[i] * (1 - smooth) + wave.points[i + 1] * smooth);
    }, 0);
}

function paintTrees(draw, { width, height, trees = 0 }, share, top, random) {
  for (let i = 0; i < trees * (share + 0.15) && share > 0.2; i++) {
    const at = random() * width;
    const tall = height * (0.012 + 0.05 * share ** 2) * (0.5 + random());
    const foot = top(at) + tall * 0.3;
    for (let level = 0; level < 4; level++) {
      const tip = foot - tall + (level * tall) / 5;
      const wide = tall * (0.1 + level * 0.055);
      draw.beginPath();
      draw.moveTo(at, tip);
      draw.lineTo(at - wide, tip + tall * 0.36);
      draw.lineTo(at + wide, tip + tall * 0.36);
      draw.fill();
    }
  }
}

/** Paints the ridge at a share of the way from the farthest to the nearest. */
function paintRidge(draw, scene, share, random) {
  const { width, height, ridges, sky, from, to, rough } = scene;
  const [far, near, count] = ridges;
  const base = height * (from + (to - from) * share);
  const rise = height * (0.09 + 0.05 * share) * (to - from + 0.4);
  const high = noise(width, width / (2 + share * (count - 1)), rise, rough, random);
  const top = (at) => base - high(at);
  const tone = mix(far, near, share ** 0.8);
  const body = draw.createLinearGradient(0, base - height * 0.08, 0, base + height * 0.3);
  body.addColorStop(0, tone);
  body.addColorStop(1, share < 0.99 ? mix(tone, sky[sky.length - 1], 0.5) : near);
  draw.fillStyle = body;
  draw.beginPath();
  draw.moveTo(0, height);
  for (let at = 0; at <= width; at += 2) draw.lineTo(at, top(at));
  draw.lineTo(width, height);
  draw.fill();
  draw.fillStyle = mix(tone, "#000000", 0.12);
  paintTrees(draw, scene, share, top, random);
}

/** Mirrors what is above the water in rows that shift more the nearer they are. */
function paintWater(draw, { width, height, water }, random) {
  const horizon = height * water;
  const above = Object.assign(document.createElement("canvas"), { width, height });
  above.getContext("2d").drawImage(draw.canvas, 0, 0);
  for (let row = 0; horizon + row < height; row += 2) {
    const depth = row / (height - horizon);
    const shift = Math.sin(row / (5 + depth * 26)) * (1 + depth * 16) + (random() - 0.5) * 5 * depth;
    const source = Math.max(0, horizon - depth * horizon * 0.86 - 2);
    for (const left of [shift - Math.sign(shift) * width, shift]) {
      draw.drawImage(above, 0, source, width, 2, left, horizon + row, width, 2);
    }
  }
  const deep = draw.createLinearGradient(0, horizon, 0, height);
  deep.addColorStop(0, "rgb(10 30 50 / 8%)");
  deep.addColorStop(1, "rgb(5 20 40 / 55%)");
  draw.fillStyle = deep;
  draw.fillRect(0, horizon, width, height);
}

function addGrain(draw, { width, height }, random) {
  const pixels = draw.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const grain = (random() - 0.5) * 10;
    for (let c = 0; c < 3; c++) pixels.data[i + c] += grain;
  }
  draw.putImageData(pixels, 0, 0);
}

/** Paints a scene. Returns a JPEG in base64.
 * @param {Scene} scene */
export function paint(scene) {
  const random = randomOf(scene.seed);
  const { width, height } = scene;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const draw = canvas.getContext("2d");
  paintSky(draw, scene, random);
  const count = scene.ridges[2];
  for (let ridge = 0; ridge < count; ridge++) paintRidge(draw, scene, ridge / (count - 1), random);
  if (scene.water) paintWater(draw, scene, random);
  addGrain(draw, scene, random);
  return canvas.toDataURL("image/jpeg", 0.9).split(",")[1];
}
