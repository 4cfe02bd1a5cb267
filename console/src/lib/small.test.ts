import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { serverNow, setClock } from './api';
import { Backoff } from './backoff';
import { causeLook } from './causes';
import { GrantKeeper } from './grants';
import { addressOf, parseRoute } from './route.svelte';

describe('back-off', () => {
  it('doubles up to its most, and begins again', () => {
    const backoff = new Backoff(0.5, 4, () => 0.5);
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([0.5, 1, 2, 4, 4]);
    backoff.reset();
    expect(backoff.next()).toBe(0.5);
  });

  it('is spread by a quarter each way', () => {
    expect(new Backoff(1, 10, () => 0).next()).toBe(0.75);
    expect(new Backoff(1, 10, () => 1).next()).toBe(1.25);
  });
});

describe('causes', () => {
  it('are known by the catalog’s words', () => {
    const causes = ['camera offline', 'not planned', 'no event', 'media lost', 'disk', 'clock', 'expired', 'media server down'];
    expect(new Set(causes.map((cause) => causeLook(cause).key)).size).toBe(causes.length);
    expect(new Set(causes.map((cause) => causeLook(cause).look)).size).toBe(causes.length);
  });

  it('that are new are shown by their own name', () => {
    expect(causeLook('meteor').key).toBe('gap.other');
  });
});

describe('routes', () => {
  it('go to an address and back, with any id', () => {
    for (const id of ['cam1', 'a.b-c_d', '카메라', 'a/b', '100%']) {
      expect(parseRoute(addressOf({ page: 'camera', id }))).toEqual({ page: 'camera', id });
    }
    for (const id of ['cam1', '카메라', 'a/b']) {
      expect(parseRoute(addressOf({ page: 'call', id }))).toEqual({ page: 'call', id });
      expect(parseRoute(addressOf({ page: 'calls', party: id }))).toEqual({ page: 'calls', party: id });
    }
    expect(parseRoute(addressOf({ page: 'calls', party: '' }))).toEqual({ page: 'calls', party: '' });
    expect(parseRoute(addressOf({ page: 'grid' }))).toEqual({ page: 'grid' });
  });

  it('that make no sense lead to all cameras', () => {
    for (const hash of ['', '#', '#/x', '#/camera/', '#/camera/%E0%A4%A', '#/camera/a/b', '#/call', '#/calls/', '#/calls/a/b']) {
      expect(parseRoute(hash)).toEqual({ page: 'grid' });
    }
  });
});

describe('the server’s clock', () => {
  it('is guessed from the middle of a request', () => {
    const now = Date.now();
    setClock(now + 60_000, now - 100, now + 100);
    expect(serverNow() - Date.now()).toBeGreaterThanOrEqual(59_990);
    expect(serverNow() - Date.now()).toBeLessThanOrEqual(60_010);
  });
});

describe('grants', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const made = (token: string) => ({ url: '/media/m-0', token, lifetime: 100 });

  it('are fetched once for all who ask at the same time', async () => {
    const fetching = vi.fn(() => Promise.resolve(made('a')));
    const keeper = new GrantKeeper(fetching);
    expect(await Promise.all([keeper.get(), keeper.get()])).toEqual([made('a'), made('a')]);
    expect((await keeper.get()).token).toBe('a');
    expect(fetching).toHaveBeenCalledTimes(1);
    keeper.close();
  });

  it('are renewed before they run out, and the page is told', async () => {
    let count = 0;
    const renewed = vi.fn();
    const keeper = new GrantKeeper(() => Promise.resolve(made(`t${count++}`)), renewed);
    await keeper.get();
    await vi.advanceTimersByTimeAsync(59_000);
    expect(renewed).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(renewed).toHaveBeenCalledWith(made('t1'));
    expect(keeper.current).toEqual(made('t1'));
    keeper.close();
    await vi.advanceTimersByTimeAsync(200_000);
    expect(count).toBe(2);
  });

  it('are tried again while the old one is good, and dropped when told', async () => {
    let fail = false;
    let count = 0;
    const keeper = new GrantKeeper(() => (fail ? Promise.reject(new Error('away')) : Promise.resolve(made(`t${count++}`))));
    await keeper.get();
    fail = true;
    await vi.advanceTimersByTimeAsync(66_000);
    fail = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(keeper.current?.token).toBe('t1');
    keeper.drop();
    expect(keeper.current).toBeNull();
    expect((await keeper.get()).token).toBe('t2');
    keeper.close();
  });

  it('pass on what the server refuses', async () => {
    const keeper = new GrantKeeper(() => Promise.reject(new Error('no')));
    await expect(keeper.get()).rejects.toThrow('no');
  });
});
