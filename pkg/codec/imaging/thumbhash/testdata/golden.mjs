// Writes golden.json with the format author's own encoder:
//
//	npm install thumbhash && node golden.mjs > golden.json
//
// The pictures are formulas, so that the test can make them again, and lopsided
// ones: in a symmetric picture many terms are zero, where the last bit of a
// cosine decides which way they round.
import { rgbaToThumbHash } from "thumbhash";

const sizes = [[1, 1], [32, 32], [100, 75], [75, 100], [100, 10], [7, 100]];
const alphas = {
  opaque: () => 255,
  faded: (x, y, w, h) => Math.floor((255 * x * (x + y)) / (w * (w + h))),
  hole: (x, y, w, h) => (x > w / 4 && x < w / 2 && y > h / 4 ? 0 : 255),
  clear: () => 0,
};

const golden = [];
for (const [w, h] of sizes) {
  for (const [alpha, at] of Object.entries(alphas)) {
    const rgba = new Uint8Array(4 * w * h);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        rgba.set([(x * x + y) % 256, (y * y + 3 * x) % 256, (x * y + 40) % 256, at(x, y, w, h)], 4 * (y * w + x));
      }
    }
    golden.push({ w, h, alpha, hash: Buffer.from(rgbaToThumbHash(w, h, rgba)).toString("hex") });
  }
}
console.log(JSON.stringify(golden, null, 1));
