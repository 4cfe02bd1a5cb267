import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError, cameras, currentSession, onSessionEnd, signIn, signOut } from './api';
import { cameraList, serverReachable, watchCameras } from './cameras.svelte';
import { TimelineStore } from './timeline/store.svelte';

const json = (body: unknown, status = 200, headers = {}) => () => Promise.resolve(new Response(JSON.stringify(body), { status, headers }));
const text = (body: string, status = 200) => () => Promise.resolve(new Response(body, { status }));
/** An answer whose body breaks off, or whose time is over in its midst. */
const broken = (error: Error) => () =>
  Promise.resolve(new Response(new ReadableStream({ start: (controller) => controller.error(error) })));

const FAULTS = {
  'no connection': () => Promise.reject(new TypeError('network')),
  'a body that breaks off': broken(new TypeError('network')),
  'a body that takes too long': broken(new DOMException('timed out', 'TimeoutError')),
  'a page of a machine between': text('<!doctype html><title>Sign in to Wi-Fi</title>'),
  'half an answer': text('[{"id": "cam'),
};

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const caught = async (promise: Promise<unknown>): Promise<ApiError> => {
  const error: unknown = await promise.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
};

describe('an answer of the API', () => {
  it('is what it says', async () => {
    vi.stubGlobal('fetch', json([{ id: 'cam1' }]));
    expect(await cameras()).toEqual([{ id: 'cam1' }]);
    vi.stubGlobal('fetch', () => Promise.resolve(new Response(null, { status: 204 })));
    await signOut();
  });

  it.each(Object.entries(FAULTS))('that is %s is an ApiError like any other', async (_name, fetching) => {
    vi.stubGlobal('fetch', fetching);
    expect((await caught(cameras())).status).toBe(0);
  });

  it('that refuses keeps its reason, whatever its body', async () => {
    vi.stubGlobal('fetch', json({ error: 'too_many_tries', message: 'wait' }, 429, { 'Retry-After': '7' }));
    const limited = await caught(signIn('a', 'b'));
    expect([limited.status, limited.code, limited.message, limited.retryAfter]).toEqual([429, 'too_many_tries', 'wait', 7]);
    for (const body of ['null', '<html>', '']) {
      vi.stubGlobal('fetch', text(body, 502));
      expect((await caught(cameras())).status).toBe(502);
    }
  });

  it('that there is no session ends it for the page', async () => {
    const ended = vi.fn();
    onSessionEnd(ended);
    vi.stubGlobal('fetch', json({ error: 'not_signed_in', message: '' }, 401));
    expect(await currentSession()).toBeNull();
    expect(ended).toHaveBeenCalledOnce();
    onSessionEnd(() => {});
  });
});

describe('pages that ask again and again', () => {
  beforeEach(() => void vi.useFakeTimers());

  it.each(Object.entries(FAULTS))('go on after %s, and say meanwhile that the server is away', async (_name, fault) => {
    vi.stubGlobal('fetch', json([{ id: 'cam1' }]));
    const stop = watchCameras();
    await vi.advanceTimersByTimeAsync(100);
    expect([cameraList()?.length, serverReachable()]).toEqual([1, true]);
    vi.stubGlobal('fetch', fault);
    await vi.advanceTimersByTimeAsync(2000);
    expect(serverReachable()).toBe(false);
    vi.stubGlobal('fetch', json([{ id: 'cam1' }, { id: 'cam2' }]));
    await vi.advanceTimersByTimeAsync(2000);
    expect([cameraList()?.length, serverReachable()]).toEqual([2, true]);
    stop();
  });

  it.each(Object.entries(FAULTS))('read the timeline again after %s', async (_name, fault) => {
    const now = Date.now();
    const wire = { camera: 'cam1', from: new Date(now - 9e6), to: new Date(now + 9e6), now: new Date(now), recordings: [], gaps: [], damage: [] };
    vi.stubGlobal('fetch', fault);
    const store = new TimelineStore('cam1');
    store.show({ from: now - 3_600_000, to: now });
    await vi.advanceTimersByTimeAsync(200);
    expect([store.failed, store.data]).toEqual([true, null]);
    vi.stubGlobal('fetch', json(wire));
    await vi.advanceTimersByTimeAsync(2500);
    expect([store.failed, store.data?.camera]).toEqual([false, 'cam1']);
    store.stop();
  });
});
