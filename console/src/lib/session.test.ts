import { afterEach, describe, expect, it, vi } from 'vitest';
import { cameras } from './api';
import { enter, leave, resume, sessionState } from './session.svelte';

const answer = (body: unknown, status = 200) =>
  vi.fn(async () => new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } }));

afterEach(() => vi.unstubAllGlobals());

describe('a session', () => {
  it('that has ended is told as such, by however many requests it is noticed', async () => {
    vi.stubGlobal('fetch', answer({ user: 'ann', role: 'viewer', permissions: [] }));
    await enter('ann', 'x');
    expect(sessionState().is).toBe('in');
    vi.stubGlobal('fetch', answer({ error: 'not_signed_in', message: '' }, 401));
    await Promise.allSettled([cameras(), cameras(), cameras()]);
    expect(sessionState()).toEqual({ is: 'out', ended: true });
  });

  it('that a person has left, or that there never was, has not ended', async () => {
    vi.stubGlobal('fetch', answer({ user: 'ann', role: 'viewer', permissions: [] }));
    await enter('ann', 'x');
    await leave();
    expect(sessionState()).toEqual({ is: 'out', ended: false });
    vi.stubGlobal('fetch', answer({ error: 'not_signed_in', message: '' }, 401));
    await resume();
    expect(sessionState()).toEqual({ is: 'out', ended: false });
  });
});
