// QR codes (ISO/IEC 18004): bytes, error correction level L, versions 1 to 40.

// Level L of the standard's table 9: error correction codewords of a block, and blocks, by version.
const CORRECTION = [
  7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28, 28, 28, 30, 30, 26,
  28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30,
];
const BLOCKS = [
  1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8, 8, 9, 9, 10, 12, 12, 12, 13, 14, 15,
  16, 17, 18, 19, 19, 20, 21, 22, 24, 25,
];

/** The modules of a code for `text`: rows of booleans; null if it is too long. */
export function qr(text) {
  const data = new TextEncoder().encode(text);
  const version =
    BLOCKS.findIndex((_, at) => 4 + (at < 9 ? 8 : 16) + data.length * 8 <= capacity(at + 1) * 8) +
    1;
  if (!version) return null;
  const grid = new Grid(version);
  grid.place(interleaved(version, stream(version, data)));
  return grid.finished();
}

/** Codewords of a version, all and for data. */
function codewords(version) {
  const size = 17 + 4 * version;
  let modules = size * size - 3 * 64 - 31 - 2 * (size - 16);
  const aligned = version === 1 ? 0 : Math.floor(version / 7) + 2;
  if (aligned) modules -= (aligned * aligned - 3) * 25 - 2 * (aligned - 2) * 5;
  if (version >= 7) modules -= 36;
  return Math.floor(modules / 8);
}
const capacity = (version) => codewords(version) - CORRECTION[version - 1] * BLOCKS[version - 1];

function stream(version, data) {
  const bits = [];
  const push = (value, length) => {
    for (let at = length - 1; at >= 0; at -= 1) bits.push((value >>> at) & 1);
  };
  push(4, 4);
  push(data.length, version < 10 ? 8 : 16);
  for (const byte of data) push(byte, 8);
  const room = capacity(version) * 8;
  push(0, Math.min(4, room - bits.length));
  push(0, -bits.length & 7);
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) push(pad, 8);
  return Array.from({ length: bits.length / 8 }, (_, at) =>
    bits.slice(at * 8, at * 8 + 8).reduce((sum, bit) => sum * 2 + bit, 0),
  );
}

// -- Reed-Solomon over GF(256) with x^8 + x^4 + x^3 + x^2 + 1 ---------------------------------------

const EXP = [];
const LOG = [];
for (let power = 0, value = 1; power < 255; power += 1) {
  EXP[power] = value;
  LOG[value] = power;
  value = value & 128 ? (value << 1) ^ 0x11d : value << 1;
}
const times = (a, b) => (a && b ? EXP[(LOG[a] + LOG[b]) % 255] : 0);

function divisor(degree) {
  let polynomial = [1];
  for (let root = 0; root < degree; root += 1) {
    const next = [...polynomial, 0];
    polynomial.forEach((factor, at) => (next[at + 1] ^= times(factor, EXP[root])));
    polynomial = next;
  }
  return polynomial.slice(1);
}

function remainder(data, by) {
  const rest = by.map(() => 0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    by.forEach((each, at) => (rest[at] ^= times(each, factor)));
  }
  return rest;
}

function interleaved(version, data) {
  const blocks = BLOCKS[version - 1];
  const by = divisor(CORRECTION[version - 1]);
  const short = Math.floor(data.length / blocks);
  const long = data.length % blocks;
  const parts = [];
  for (let at = 0, start = 0; at < blocks; at += 1) {
    const end = start + short + (at >= blocks - long ? 1 : 0);
    parts.push(data.slice(start, end));
    start = end;
  }
  const corrections = parts.map((part) => remainder(part, by));
  const out = [];
  for (let at = 0; at <= short; at += 1)
    for (const part of parts) if (at < part.length) out.push(part[at]);
  for (let at = 0; at < by.length; at += 1) for (const part of corrections) out.push(part[at]);
  return out;
}

// -- the picture ----------------------------------------------------------------------------------

const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

class Grid {
  constructor(version) {
    this.version = version;
    this.size = 17 + 4 * version;
    this.dark = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.fixed = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.patterns();
  }

  set(x, y, dark) {
    this.dark[y][x] = Boolean(dark);
    this.fixed[y][x] = true;
  }

  patterns() {
    const { size } = this;
    for (let at = 0; at < size; at += 1) {
      this.set(6, at, at % 2 === 0);
      this.set(at, 6, at % 2 === 0);
    }
    for (const [cx, cy] of [
      [3, 3],
      [size - 4, 3],
      [3, size - 4],
    ]) {
      for (let dy = -4; dy <= 4; dy += 1) {
        for (let dx = -4; dx <= 4; dx += 1) {
          const [x, y, ring] = [cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy))];
          if (x >= 0 && y >= 0 && x < size && y < size) this.set(x, y, ring !== 2 && ring !== 4);
        }
      }
    }
    const places = this.alignment();
    const last = places.length - 1;
    places.forEach((cy, j) =>
      places.forEach((cx, i) => {
        if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
        for (let dy = -2; dy <= 2; dy += 1)
          for (let dx = -2; dx <= 2; dx += 1)
            this.set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
      }),
    );
    this.format(0);
    if (this.version >= 7) this.numbered();
  }

  alignment() {
    if (this.version === 1) return [];
    const number = Math.floor(this.version / 7) + 2;
    const step = this.version === 32 ? 26 : Math.ceil((this.size - 13) / (number * 2 - 2)) * 2;
    const places = [6];
    for (let at = this.size - 7; places.length < number; at -= step) places.splice(1, 0, at);
    return places;
  }

  format(mask) {
    const data = (1 << 3) | mask;
    let rest = data;
    for (let at = 0; at < 10; at += 1) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
    const bits = ((data << 10) | rest) ^ 0x5412;
    const bit = (at) => (bits >>> at) & 1;
    for (let at = 0; at <= 5; at += 1) this.set(8, at, bit(at));
    this.set(8, 7, bit(6));
    this.set(8, 8, bit(7));
    this.set(7, 8, bit(8));
    for (let at = 9; at < 15; at += 1) this.set(14 - at, 8, bit(at));
    for (let at = 0; at < 8; at += 1) this.set(this.size - 1 - at, 8, bit(at));
    for (let at = 8; at < 15; at += 1) this.set(8, this.size - 15 + at, bit(at));
    this.set(8, this.size - 8, true);
  }

  numbered() {
    let rest = this.version;
    for (let at = 0; at < 12; at += 1) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
    const bits = (this.version << 12) | rest;
    for (let at = 0; at < 18; at += 1) {
      const [a, b] = [this.size - 11 + (at % 3), Math.floor(at / 3)];
      this.set(a, b, (bits >>> at) & 1);
      this.set(b, a, (bits >>> at) & 1);
    }
  }

  place(data) {
    let at = 0;
    for (let right = this.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      const upward = ((right + 1) & 2) === 0;
      for (let step = 0; step < this.size; step += 1) {
        const y = upward ? this.size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.fixed[y][x] || at >= data.length * 8) continue;
          this.dark[y][x] = Boolean((data[at >>> 3] >>> (7 - (at & 7))) & 1);
          at += 1;
        }
      }
    }
  }

  masked(mask) {
    return this.dark.map((row, y) =>
      row.map((dark, x) => dark !== (!this.fixed[y][x] && MASKS[mask](x, y))),
    );
  }

  finished() {
    let best = null;
    for (let mask = 0; mask < 8; mask += 1) {
      this.format(mask);
      const picture = this.masked(mask);
      const cost = penalty(picture);
      if (!best || cost < best.cost) best = { cost, picture };
    }
    return best.picture;
  }
}

function penalty(rows) {
  const size = rows.length;
  const columns = rows.map((_, x) => rows.map((row) => row[x]));
  let cost = 0;
  for (const line of [...rows, ...columns]) {
    for (let at = 0; at < size;) {
      let end = at;
      while (end < size && line[end] === line[at]) end += 1;
      if (end - at >= 5) cost += end - at - 2;
      at = end;
    }
    const text = line.map((dark) => (dark ? "1" : "0")).join("");
    for (const pattern of ["10111010000", "00001011101"])
      for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + 1)) cost += 40;
  }
  let dark = 0;
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      dark += rows[y][x];
      if (
        x &&
        y &&
        rows[y][x] === rows[y][x - 1] &&
        rows[y][x] === rows[y - 1][x] &&
        rows[y][x] === rows[y - 1][x - 1]
      )
        cost += 3;
    }
  }
  return cost + Math.floor(Math.abs((dark * 20) / (size * size) - 10)) * 10;
}
