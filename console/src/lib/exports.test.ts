import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from './api';
import { exportAddress, failureOf, partsOf, refusalOf } from './exports';

const T = Date.UTC(2026, 10, 20, 10);
const HOUR = 3_600_000;
const grant = { url: '/media/m-0', token: 't&', lifetime: 120 };

afterEach(() => void vi.unstubAllGlobals());

const answering = (status: number, headers: Record<string, string> = {}) => {
  const fetching = vi.fn((_address: string, _init: RequestInit) => Promise.resolve(new Response(null, { status, headers })));
  vi.stubGlobal('fetch', fetching);
  return fetching;
};

describe('a range to download', () => {
  it('has its end after its start, and a day in it at most', () => {
    expect(refusalOf({ start: T, end: T })).toBe('export.invalid');
    expect(refusalOf({ start: T, end: T - 1 })).toBe('export.invalid');
    expect(refusalOf({ start: T, end: T + 24 * HOUR })).toBeNull();
    expect(refusalOf({ start: T, end: T + 24 * HOUR + 1000 })).toBe('export.too-long');
  });

  it('is asked for part by part', () => {
    expect(exportAddress(grant, 'a/b', { start: T, end: T + HOUR }, 2)).toBe(
      '/media/m-0/export/a%2Fb.mp4?from=2026-11-20T10%3A00%3A00.000Z&to=2026-11-20T11%3A00%3A00.000Z&token=t%26&part=2',
    );
  });

  it('tells its parts without being fetched', async () => {
    const fetching = answering(200, { 'X-Export-Parts': '3' });
    expect(await partsOf('/x')).toBe(3);
    expect(fetching.mock.calls[0]![1].method).toBe('HEAD');
    answering(200);
    expect(await partsOf('/x')).toBe(1);
  });

  it('that cannot be had is told with the server’s reason', async () => {
    for (const [status, key] of [[404, 'export.empty'], [403, 'export.forbidden'], [503, 'export.failed']] as const) {
      answering(status);
      const error: unknown = await partsOf('/x').catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(ApiError);
      expect(failureOf(error as ApiError)).toBe(key);
    }
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('network')));
    await expect(partsOf('/x')).rejects.toBeInstanceOf(ApiError);
  });
});
