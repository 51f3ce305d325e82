// Pictures of any shape in rows of one width, each shown whole, in their order.
// Pure arithmetic.

export interface Box {
  width: number;
  height: number;
}

export interface Layout {
  boxes: Box[];
  /** How many of the boxes are in rows that reach from side to side. */
  inFullRows: number;
  /** How many are in the first row. */
  inFirstRow: number;
}

// Panoramas and towers are cut, or they would make a row of their own, very low
// or very high.
const narrowest = 0.45;
const widest = 3;

/**
 * Fills row after row. A row is full when one picture more would bring its
 * height further from the target than it is.
 */
export function layOut(ratios: readonly number[], width: number, gap: number): Layout {
  const target = 170 + width / 9;
  const shapes = ratios.map((ratio) => Math.min(widest, Math.max(narrowest, ratio)));
  const boxes: Box[] = [];
  let inFirstRow = 0;
  let row: number[] = [];
  const heightOf = (shapesOfRow: readonly number[]) =>
    (width - gap * (shapesOfRow.length - 1)) / shapesOfRow.reduce((sum, shape) => sum + shape, 0);
  const close = (height: number) => {
    // Rounded down, so that the sum never is wider than the row.
    for (const shape of row) boxes.push({ width: Math.floor(height * shape * 100) / 100, height });
    inFirstRow ||= row.length;
    row = [];
  };
  for (const shape of shapes) {
    if (row.length > 0) {
      const without = heightOf(row);
      const together = heightOf([...row, shape]);
      if (without <= target || without - target < target - together) close(without);
    }
    row.push(shape);
  }
  if (row.length > 0 && heightOf(row) <= target) close(heightOf(row));
  const inFullRows = boxes.length;
  if (row.length > 0) {
    // Nearly full is filled. Otherwise few pictures may be larger than many, but
    // need not fill the window.
    const height = heightOf(row);
    const most = inFullRows > 0 ? target : target * 1.4;
    close(height <= target * 1.25 ? height : Math.min(height, most));
  }
  return { boxes, inFullRows, inFirstRow };
}
