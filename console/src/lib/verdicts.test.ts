import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError, type Verdict } from './api';
import { DICTIONARIES } from './i18n/translate';
import { Polled } from './polled.svelte';
import { STATE_SIGNS, verdictWords } from './verdicts';

const verdict = (code: string): Verdict => ({ code, who: 'ann', origin: '', status: 0, reason: '', seconds: 0, text: '', hint: '' });

describe('verdicts', () => {
  it('have words for every code in the dictionaries, and only those', () => {
    const keys = Object.keys(DICTIONARIES.en).filter((key) => key.startsWith('verdict.'));
    const codes = keys.filter((key) => !key.startsWith('verdict.hint.')).map((key) => key.slice('verdict.'.length));
    expect(codes).toContain('wrong-password');
    expect(codes.map((code) => verdictWords(verdict(code))?.key)).toEqual(codes.map((code) => `verdict.${code}`));
    const hinted = codes.map((code) => verdictWords(verdict(code))?.hint).filter(Boolean);
    expect(hinted.sort()).toEqual(keys.filter((key) => key.startsWith('verdict.hint.')).sort());
  });

  it('that are new are left to the server’s own words', () => {
    expect(verdictWords(verdict('meteor'))).toBeNull();
  });

  it('have a sign for every state', () => {
    expect(Object.keys(STATE_SIGNS).sort()).toEqual(['calling', 'cancelled', 'ended', 'established', 'failed', 'ringing']);
  });
});

describe('what is read again and again', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('is read at once, later again, and keeps its object while the answer stays the same', async () => {
    const polled = new Polled<number[]>();
    const answers = [[1], [1], [2]];
    const read = vi.fn(() => Promise.resolve(answers.shift()!));
    const stop = polled.run(read);
    expect(polled.value).toBeNull();
    await vi.advanceTimersByTimeAsync(0);
    const first = polled.value;
    expect(first).toEqual([1]);
    await vi.advanceTimersByTimeAsync(1500);
    expect(polled.value).toBe(first);
    await vi.advanceTimersByTimeAsync(1500);
    expect(polled.value).toEqual([2]);
    stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(read).toHaveBeenCalledTimes(3);
  });

  it('stays while the server is away, and says so', async () => {
    const polled = new Polled<string>();
    let away = false;
    const stop = polled.run(() => (away ? Promise.reject(new ApiError(503, 'directory_away', '')) : Promise.resolve('here')));
    await vi.advanceTimersByTimeAsync(0);
    away = true;
    await vi.advanceTimersByTimeAsync(1500);
    expect([polled.value, polled.status]).toEqual(['here', 503]);
    away = false;
    await vi.advanceTimersByTimeAsync(1500);
    expect([polled.value, polled.status]).toEqual(['here', 200]);
    stop();
  });

  it('is not disturbed by an answer to an older question', async () => {
    const polled = new Polled<string>();
    let answer: (value: string) => void = () => {};
    polled.run(() => new Promise((resolve) => (answer = resolve)))();
    const stop = polled.run(() => Promise.resolve('new'));
    answer('old');
    await vi.advanceTimersByTimeAsync(0);
    expect(polled.value).toBe('new');
    stop();
  });
});
