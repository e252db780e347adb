// The only source of chance: seeded; integer arithmetic and comparisons only, so that every machine draws the same.

/** xoshiro128**, by Blackman and Vigna, seeded by splitmix32. */
export class Random {
  private state: [number, number, number, number];

  constructor(seed: number) {
    let s = seed >>> 0;
    const next = () => {
      s = (s + 0x9e3779b9) | 0;
      let z = s ^ (s >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      return z ^ (z >>> 15);
    };
    this.state = [next(), next(), next(), next()];
  }

  /** A whole number from 0 to 2^32 - 1. */
  uint32(): number {
    const s = this.state;
    const result = Math.imul(rotl(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11);
    return result;
  }

  /** From 0 up to, but not, 1. */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** From `low` up to `high`. */
  between(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /**
   * From the exponential distribution with mean 1, by von Neumann's comparisons: no logarithm, which may differ
   * between machines in its last bit.
   */
  exponential(): number {
    for (let whole = 0; ; whole++) {
      const first = this.uniform();
      let previous = first;
      let falling = 0;
      for (let next = this.uniform(); next < previous; next = this.uniform()) {
        previous = next;
        falling++;
      }
      if (falling % 2 === 0) return whole + first;
    }
  }
}

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
