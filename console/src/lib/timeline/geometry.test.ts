import { describe, expect, it } from 'vitest';
import {
  clip, covering, join, keepVisible, MAX_SPAN, MIN_SPAN, nextRecorded, pan, PRESETS, span, spanOf, ticks, timeOf,
  viewOf, xOf, zoom,
} from './geometry';

const NOON = Date.UTC(2026, 10, 20, 12);
const HOUR = 3_600_000;
const view = { from: NOON, to: NOON + HOUR };

describe('time and pixels', () => {
  it('are each other’s inverse over the whole width', () => {
    for (let x = 0; x <= 1000; x += 37) expect(xOf(view, 1000, timeOf(view, 1000, x))).toBeCloseTo(x, 6);
  });

  it('put the ends at the edges', () => {
    expect(xOf(view, 800, view.from)).toBe(0);
    expect(xOf(view, 800, view.to)).toBe(800);
  });

  it('survive a width of nothing, before the page is laid out', () => {
    expect(timeOf(view, 0, 5)).toBe(view.from);
    expect(ticks(view, 0, () => 0).length).toBeLessThan(20);
  });
});

describe('zoom', () => {
  it('keeps the anchor where it is on the screen', () => {
    for (const factor of [0.25, 0.5, 1.7, 4]) {
      const anchor = NOON + 0.3 * HOUR;
      const next = zoom(view, factor, anchor);
      expect(xOf(next, 1000, anchor)).toBeCloseTo(xOf(view, 1000, anchor), 6);
      expect(span(next)).toBeCloseTo(HOUR * factor, 3);
    }
  });

  it('stops at the smallest and the largest span', () => {
    expect(span(zoom(view, 1e-9, NOON))).toBeCloseTo(MIN_SPAN, 3);
    expect(span(zoom(view, 1e9, NOON))).toBeCloseTo(MAX_SPAN, 3);
  });
});

describe('views', () => {
  it('of a preset have its span, with the live edge near the right end', () => {
    for (const length of Object.values(PRESETS)) {
      const made = viewOf(length, NOON, true);
      expect(span(made)).toBe(length);
      expect(xOf(made, 100, NOON)).toBeCloseTo(94);
    }
  });

  it('of a playing position have it in the middle', () => {
    expect(xOf(viewOf(HOUR, NOON, false), 100, NOON)).toBeCloseTo(50);
  });

  it('move only when the followed time comes near an edge', () => {
    expect(keepVisible(view, NOON + HOUR / 2)).toBe(view);
    const later = keepVisible(view, view.to);
    expect(span(later)).toBe(HOUR);
    expect(xOf(later, 100, view.to)).toBeCloseTo(94);
    const earlier = keepVisible(view, view.from - HOUR);
    expect(xOf(earlier, 100, view.from - HOUR)).toBeCloseTo(6);
  });

  it('are settled after one move', () => {
    const moved = keepVisible(view, view.to + 12_345.678);
    expect(span(moved)).toBeCloseTo(HOUR, 3);
    expect(Math.abs(keepVisible(moved, view.to + 12_345.678).from - moved.from)).toBeLessThan(0.01);
  });

  it('pan by time', () => {
    expect(pan(view, -HOUR)).toEqual({ from: NOON - HOUR, to: NOON });
  });
});

describe('clip', () => {
  it('cuts to what is visible', () => {
    expect(clip(view, 1000, { start: NOON - HOUR, end: NOON + HOUR / 2 })).toEqual({ x: 0, width: 500 });
    expect(clip(view, 1000, { start: NOON + HOUR / 2, end: NOON + 9 * HOUR })).toEqual({ x: 500, width: 500 });
  });

  it('drops what is outside, and what is inside out', () => {
    expect(clip(view, 1000, { start: NOON - 2 * HOUR, end: NOON - HOUR })).toBeNull();
    expect(clip(view, 1000, { start: NOON + 2 * HOUR, end: NOON + 3 * HOUR })).toBeNull();
    expect(clip(view, 1000, { start: NOON + 2, end: NOON + 1 })).toBeNull();
  });

  it('leaves at least a pixel of something short', () => {
    expect(clip(view, 1000, { start: NOON + 60_000, end: NOON + 60_001 })?.width).toBe(1);
  });
});

describe('ticks', () => {
  const seoul = (): number => 9 * HOUR;

  it('carry labels on round local times that do not run into each other', () => {
    for (const length of [MIN_SPAN, 60_000, 600_000, HOUR, 6 * HOUR, 24 * HOUR, MAX_SPAN]) {
      const major = ticks({ from: NOON, to: NOON + length }, 1200, seoul).filter((tick) => tick.major);
      expect(major.length).toBeGreaterThan(1);
      for (let i = 1; i < major.length; i++) expect(major[i]!.x - major[i - 1]!.x).toBeGreaterThanOrEqual(91.9);
    }
  });

  it('of a day stand on local midnight', () => {
    const major = ticks({ from: NOON, to: NOON + MAX_SPAN }, 1200, seoul).filter((tick) => tick.major);
    for (const { time } of major) expect((time + seoul()) % (24 * HOUR)).toBe(0);
  });

  it('stand on round local times on both sides of a change of summer time', () => {
    // Europe, 2026: forward on 29 March, back on 25 October, both at 01:00 UTC.
    for (const [change, before, after] of [
      [Date.UTC(2026, 2, 29, 1), HOUR, 2 * HOUR],
      [Date.UTC(2026, 9, 25, 1), 2 * HOUR, HOUR],
    ] as const) {
      const berlin = (time: number): number => (time < change ? before : after);
      const local = (time: number): number => (time + berlin(time)) % (24 * HOUR);
      const days = ticks({ from: change - 5 * 24 * HOUR, to: change + 5 * 24 * HOUR }, 1200, berlin).filter((tick) => tick.major);
      expect(days.length).toBe(10);
      for (const { time } of days) expect(local(time)).toBe(0);
      const day = ticks({ from: change - 12 * HOUR, to: change + 12 * HOUR }, 1200, berlin);
      for (const { time, major } of day) expect(local(time) % (major ? 2 * HOUR : HOUR / 2)).toBe(0);
      for (let i = 1; i < day.length; i++) expect(day[i]!.time - day[i - 1]!.time).toBe(HOUR / 2);
    }
  });

  it('lie within the view and are not too many', () => {
    const all = ticks(view, 1200, seoul);
    expect(all.every(({ time }) => time >= view.from && time <= view.to)).toBe(true);
    expect(all.length).toBeLessThan(100);
  });
});

describe('spans', () => {
  const files = [
    { start: NOON, end: NOON + 600_000, sealed: true },
    { start: NOON + 600_040, end: NOON + 1_200_000, sealed: true },
    { start: NOON + 1_300_000, end: NOON + 1_400_000, sealed: false },
  ];

  it('of following files join, those with a gap between do not', () => {
    expect(join(files)).toEqual([
      { start: NOON, end: NOON + 1_200_000 },
      { start: NOON + 1_300_000, end: NOON + 1_400_000 },
    ]);
  });

  it('join in any order, and swallow what lies inside', () => {
    expect(join([files[1]!, { start: NOON + 1, end: NOON + 2 }, files[0]!])).toEqual([{ start: NOON, end: NOON + 1_200_000 }]);
    expect(join([])).toEqual([]);
  });

  it('cover their start but not their end', () => {
    expect(covering(files, NOON)).toBe(files[0]);
    expect(covering(files, NOON + 600_000)).toBeUndefined();
  });

  it('tell the next recorded moment', () => {
    expect(nextRecorded(files, NOON - 5)).toBe(NOON);
    expect(nextRecorded(files, NOON + 7)).toBe(NOON + 7);
    expect(nextRecorded(files, NOON + 1_250_000)).toBe(NOON + 1_300_000);
    expect(nextRecorded(files, NOON + 1_400_000)).toBeNull();
    expect(nextRecorded([], NOON)).toBeNull();
  });

  it('have their ends in order, whichever way they were drawn', () => {
    expect(spanOf(5.6, 2.2)).toEqual({ start: 2, end: 6 });
    expect(spanOf(2.2, 5.6)).toEqual({ start: 2, end: 6 });
  });
});
