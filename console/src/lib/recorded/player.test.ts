import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api';
import { RecordedPlayer, type RecordedStatus } from './player';

/** Enough of hls.js: every playlist holds the ten seconds that were asked for. */
const made: FakeHls[] = [];

class FakeHls {
  static readonly Events = { LEVEL_LOADED: 'loaded', FRAG_BUFFERED: 'buffered', ERROR: 'error' };
  static readonly ErrorTypes = { MEDIA_ERROR: 'media' };
  readonly #handlers = new Map<string, (event: string, data: unknown) => void>();

  constructor() {
    made.push(this);
  }

  on(event: string, handler: (event: string, data: unknown) => void): void {
    this.#handlers.set(event, handler);
  }

  loadSource(url: string): void {
    const from = Date.parse(new URL(url).searchParams.get('from')!) + 30_000;
    const details = { fragments: [{ start: 0, duration: 10, programDateTime: from }] };
    this.#handlers.get('loaded')!('loaded', { details });
    this.#handlers.get('buffered')!('buffered', {});
  }

  attachMedia(): void {}
  startLoad(): void {}
  destroy(): void {}
}

vi.mock('hls.js/light', () => ({
  get default() {
    return FakeHls;
  },
}));

class FakeVideo extends EventTarget {
  currentTime = 0;
  playbackRate = 1;
  paused = false;
  ended = false;
  seeking = false;
  play = () => Promise.resolve();
  pause = () => {};
}

const T = Date.UTC(2026, 10, 20, 10);
const video = () => new FakeVideo() as unknown as HTMLVideoElement;
const grant = () => Promise.resolve({ url: '/media/m-0', token: 't', lifetime: 120 });

function playing(nextRecorded: (wall: number) => Promise<number | null>) {
  const element = video();
  const said: RecordedStatus[] = [];
  const caughtUp = vi.fn();
  const jumped = vi.fn();
  const events = { status: (status: RecordedStatus) => void said.push(status), position: () => {}, jumped, caughtUp };
  const player = new RecordedPlayer(element, 'cam1', grant, nextRecorded, events);
  return { element, player, said, caughtUp, jumped };
}

beforeEach(() => {
  made.length = 0;
  vi.useFakeTimers();
  vi.stubGlobal('location', { href: 'http://console.test/' });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('the end of a playlist', () => {
  it('leads to what is recorded next, and to live when nothing is', async () => {
    const next = vi.fn<(wall: number) => Promise<number | null>>().mockResolvedValueOnce(T).mockResolvedValueOnce(T + 60_000).mockResolvedValueOnce(T + 60_000);
    const { element, player, caughtUp, jumped } = playing(next);
    await player.playAt(T);
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(0);
    expect(made.length).toBe(2);
    expect(jumped).toHaveBeenCalledWith({ from: T + 10_000, to: T + 60_000 });
    next.mockResolvedValueOnce(null);
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(0);
    expect(caughtUp).toHaveBeenCalledOnce();
    player.stop();
  });

  it('is not taken for live when the question fails: it is asked again', async () => {
    const away = new ApiError(0, 'unreachable', 'away');
    const next = vi.fn<(wall: number) => Promise<number | null>>().mockResolvedValueOnce(T);
    const { element, player, said, caughtUp } = playing(next);
    await player.playAt(T);
    next.mockRejectedValueOnce(away).mockRejectedValueOnce(new ApiError(503, 'directory_away', '')).mockResolvedValue(T + 60_000);
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(0);
    expect(said.at(-1)?.phase).toBe('loading');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(caughtUp).not.toHaveBeenCalled();
    expect(made.length).toBe(2);
    player.stop();
  });

  it('is told where asking again would not help', async () => {
    const next = vi.fn<(wall: number) => Promise<number | null>>().mockResolvedValueOnce(T);
    const { element, player, said, caughtUp } = playing(next);
    await player.playAt(T);
    next.mockRejectedValue(new ApiError(403, 'not_allowed', 'no'));
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(said.at(-1)?.phase).toBe('forbidden');
    expect([caughtUp.mock.calls.length, next.mock.calls.length]).toEqual([0, 2]);
    player.stop();
  });

  it('asks no more once somebody went elsewhere, or left', async () => {
    const next = vi.fn<(wall: number) => Promise<number | null>>().mockResolvedValueOnce(T);
    const { element, player } = playing(next);
    await player.playAt(T);
    next.mockRejectedValue(new ApiError(0, 'unreachable', 'away'));
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(0);
    await player.playAt(T + 2000);
    expect(element.currentTime).toBe(2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(next).toHaveBeenCalledTimes(2);
    element.dispatchEvent(new Event('ended'));
    await vi.advanceTimersByTimeAsync(0);
    player.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(next).toHaveBeenCalledTimes(3);
  });
});
