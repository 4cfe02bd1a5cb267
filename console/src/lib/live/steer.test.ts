import { describe, expect, it } from 'vitest';
import { Cushion, LEAST_TARGET, MOST_TARGET, steer, trimPoint } from './steer';

const at = (behind: number, rate = 1, end = 100) => ({ current: end - behind, start: end - 20, end, rate });

describe('steer', () => {
  it('leaves a picture alone that is where it should be', () => {
    expect(steer(at(0.15), 0.15)).toEqual({ rate: 1 });
    expect(steer(at(0.25), 0.15)).toEqual({ rate: 1 });
  });

  it('jumps to the cushion before the end when more than 0.6 s behind', () => {
    const { seek, rate } = steer(at(0.61), 0.15);
    expect(seek).toBeCloseTo(99.85);
    expect(rate).toBe(1);
  });

  it('hurries a little when a little behind, until the cushion is right', () => {
    expect(steer(at(0.4), 0.15).rate).toBeGreaterThan(1);
    expect(steer(at(0.4), 0.15).seek).toBeUndefined();
    expect(steer(at(0.2, 1.1), 0.15).rate).toBeGreaterThan(1);
    expect(steer(at(0.17, 1.1), 0.15).rate).toBe(1);
  });

  it('slows down before it runs dry, until the cushion is right', () => {
    expect(steer(at(0.04), 0.15).rate).toBeLessThan(1);
    expect(steer(at(0.1, 0.95), 0.15).rate).toBeLessThan(1);
    expect(steer(at(0.14, 0.95), 0.15).rate).toBe(1);
  });

  it('enters a range that begins later: after a gap, and at the very start', () => {
    expect(steer({ current: 0, start: 1_795_000_000, end: 1_795_000_002, rate: 1 }, 0.15).seek).toBeCloseTo(1_795_000_001.85);
    expect(steer({ current: 50, start: 60, end: 60.04, rate: 1 }, 0.15).seek).toBe(60);
  });

  it('comes back from beyond the end, when the camera’s time was set back', () => {
    expect(steer({ current: 500, start: 90, end: 100, rate: 1 }, 0.15).seek).toBeCloseTo(99.85);
  });

  it('never jumps out of the buffered range', () => {
    for (let behind = -2; behind < 30; behind += 0.13) {
      const { seek } = steer({ current: 100 - behind, start: 99.9, end: 100, rate: 1 }, 0.5);
      if (seek !== undefined) expect(seek).toBeGreaterThanOrEqual(99.9);
    }
  });

  it('brings any delay under a second and keeps it there', () => {
    let current = 0;
    let rate = 1;
    let end = 2; // As after joining: a whole group of pictures at once.
    for (let tick = 0; tick < 200; tick++) {
      end += 0.1;
      current += 0.1 * rate;
      const next = steer({ current, start: 0, end, rate }, 0.15);
      rate = next.rate;
      current = next.seek ?? current;
      if (tick > 0) expect(end - current).toBeLessThan(0.6);
      expect(current).toBeLessThanOrEqual(end);
    }
    expect(end - current).toBeLessThan(0.3);
  });
});

describe('the cushion', () => {
  it('grows with stalls, up to a limit', () => {
    const cushion = new Cushion();
    expect(cushion.target).toBe(LEAST_TARGET);
    for (let i = 0; i < 20; i++) cushion.stalled(i);
    expect(cushion.target).toBe(MOST_TARGET);
  });

  it('shrinks only after quiet time, down to a limit', () => {
    const cushion = new Cushion();
    cushion.stalled(100);
    cushion.calm(110);
    expect(cushion.target).toBeCloseTo(0.25);
    cushion.calm(121);
    expect(cushion.target).toBeCloseTo(0.2);
    for (let now = 130; now < 600; now += 21) cushion.calm(now);
    expect(cushion.target).toBe(LEAST_TARGET);
  });
});

describe('trimming', () => {
  it('waits until it is worth it, then keeps half a minute', () => {
    expect(trimPoint(0, 39)).toBeNull();
    expect(trimPoint(0, 41)).toBe(11);
    expect(trimPoint(1_795_000_000, 1_795_000_041)).toBe(1_795_000_011);
  });
});
