// sharp as a contestant: a line of JSON in, one call of sharp for each variant,
// a line of JSON out. See package bench/contest for the protocol.
import path from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.concurrency(1);
sharp.cache(false); // an answer from a cache would measure nothing

const best = process.argv[2] === "mozjpeg"; // everything that mozjpeg has, for JPEG

const encoders = {
  webp: (picture, v) => picture.webp({ quality: v.quality, effort: v.effort }),
  jpeg: (picture, v) => picture.jpeg({ quality: v.quality, progressive: true, mozjpeg: best }),
};

const answer = (line) => process.stdout.write(JSON.stringify(line) + "\n");

async function render({ photo, folder, variants }) {
  for (const v of variants) {
    const picture = sharp(photo).rotate().resize({ width: v.width });
    await encoders[v.format](picture, v).toFile(path.join(folder, v.name));
  }
}

const { sharp: own, vips, webp, mozjpeg } = sharp.versions;
answer({ about: `${best ? "mozjpeg in " : ""}sharp ${own}, its own libvips ${vips}, libwebp ${webp} and mozjpeg ${mozjpeg}, Node.js ${process.versions.node}` });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    await render(JSON.parse(line));
    answer({});
  } catch (error) {
    answer({ error: String(error) });
  }
}
