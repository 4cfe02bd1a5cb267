import { describe, expect, it } from 'vitest';
import { clockTime, durationWords, fromInput, fromRfc3339, tickLabel, toInput, toRfc3339, zoneName, zoneOffset } from './time';

// The tests run in Asia/Seoul (vite.config.ts): nine hours ahead, so a forgotten zone shows.
const T = Date.UTC(2026, 10, 20, 15, 4, 5, 678);

describe('times', () => {
  it('go to the API in UTC and come back', () => {
    expect(toRfc3339(T)).toBe('2026-11-20T15:04:05.678Z');
    expect(fromRfc3339('2026-11-20T15:04:05.678Z')).toBe(T);
    expect(fromRfc3339('2026-11-21T00:04:05.678+09:00')).toBe(T);
    expect(() => fromRfc3339('yesterday')).toThrow(RangeError);
  });

  it('are shown in the zone of whoever looks', () => {
    expect(clockTime('en', T)).toBe('00:04:05');
    expect(zoneName('en', T)).toBe('GMT+9');
    expect(zoneOffset(T)).toBe(9 * 3_600_000);
  });

  it('go through an input and back, to the second', () => {
    expect(toInput(T)).toBe('2026-11-21T00:04:05');
    expect(fromInput(toInput(T))).toBe(T - 678);
    expect(fromInput('')).toBeNull();
  });
});

describe('labels of ticks', () => {
  const midnight = Date.UTC(2026, 10, 20, 15);

  it('name the day where it begins', () => {
    expect(tickLabel('en', midnight, 3_600_000)).toBe('21 Nov');
    expect(tickLabel('ko', midnight, 3_600_000)).toBe('11월 21일');
  });

  it('are as exact as the step', () => {
    expect(tickLabel('en', midnight + 300_000, 300_000)).toBe('00:05');
    expect(tickLabel('en', midnight + 5_000, 5_000)).toBe('00:00:05');
  });
});

describe('durations', () => {
  it('say their two largest units', () => {
    expect(durationWords(5_400)).toEqual({ key: 'duration.s', values: { s: 5 } });
    expect(durationWords(125_000)).toEqual({ key: 'duration.ms', values: { m: 2, s: 5 } });
    expect(durationWords(3_720_000)).toEqual({ key: 'duration.hm', values: { h: 1, m: 2 } });
    expect(durationWords(90_000_000)).toEqual({ key: 'duration.dh', values: { d: 1, h: 1 } });
    expect(durationWords(-1)).toEqual({ key: 'duration.s', values: { s: 0 } });
  });
});
