/** The web role's JSON API. Every call can throw ApiError; a 401 also ends the session for the whole page. */

import { fromRfc3339, toRfc3339 } from './time';

export type Permission = 'watch' | 'playback' | 'export' | 'control' | 'talk' | 'administer';
export type Role = 'admin' | 'operator' | 'viewer';
export type MediaState = 'recording' | 'live' | 'no-media' | 'offline' | 'idle';
export type Action = 'live' | 'playback' | 'export';

export interface Session {
  readonly user: string;
  readonly role: Role;
  readonly permissions: readonly Permission[];
}

export interface Camera {
  readonly id: string;
  readonly name: string;
  readonly record: string;
  readonly audio: boolean;
  readonly signalling: 'online' | 'offline';
  readonly media: MediaState;
  readonly since: string | null;
  readonly instance: string | null;
}

export interface Recording {
  readonly start: number;
  readonly end: number;
  readonly sealed: boolean;
}

export interface Gap {
  readonly start: number;
  readonly end: number;
  readonly cause: string;
}

export interface TimelineData {
  readonly camera: string;
  readonly from: number;
  readonly to: number;
  readonly recordings: readonly Recording[];
  readonly gaps: readonly Gap[];
}

export interface Grant {
  /** Path prefix of the camera's media instance. */
  readonly url: string;
  readonly token: string;
  /** For how many seconds from now the token is good. */
  readonly lifetime: number;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

let ended: () => void = () => {};

/** What to do when the server says that there is no session any more. */
export function onSessionEnd(handler: () => void): void {
  ended = handler;
}

let ahead = 0;

/** The server's clock: this machine's may be wrong, and the timeline is in the server's time. */
export function serverNow(): number {
  return Date.now() + ahead;
}

/** Takes the server's time from an answer; half the way there and back is the best guess for its age. */
export function setClock(server: number, sent: number, received: number): void {
  ahead = server - (sent + received) / 2;
}

async function call(method: string, path: string, body?: unknown): Promise<unknown> {
  const init: RequestInit = { method, credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(15_000) };
  if (body !== undefined) {
    init.headers = { 'Content-Type': 'application/json' };
    init.body = JSON.stringify(body);
  }
  const response = await fetch(path, init).catch(() => {
    throw new ApiError(0, 'unreachable', 'the server does not answer');
  });
  if (response.status === 204) return null;
  // An answer may break off, or come from a machine between that speaks no JSON.
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer;
  if (response.ok) throw new ApiError(0, 'unreadable', 'the answer cannot be read');
  const told = (answer ?? {}) as { error?: string; message?: string };
  if (response.status === 401 && told.error === 'not_signed_in') ended();
  const wait = Number(response.headers.get('Retry-After')) || 0;
  throw new ApiError(response.status, told.error ?? 'unknown', told.message ?? response.statusText, wait);
}

const camera = (id: string): string => `/api/cameras/${encodeURIComponent(id)}`;

/** The session of the cookie; null when there is none. */
export async function currentSession(): Promise<Session | null> {
  try {
    return (await call('GET', '/api/session')) as Session;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

export async function signIn(name: string, password: string): Promise<Session> {
  return (await call('POST', '/api/session', { name, password })) as Session;
}

export async function signOut(): Promise<void> {
  await call('DELETE', '/api/session');
}

export async function cameras(): Promise<Camera[]> {
  return (await call('GET', '/api/cameras')) as Camera[];
}

interface WireTimeline {
  camera: string;
  from: string;
  to: string;
  now: string;
  recordings: { start: string; end: string; sealed: boolean }[];
  gaps: { start: string; end: string; cause: string }[];
}

export async function timeline(id: string, from: number, to: number): Promise<TimelineData> {
  const sent = Date.now();
  const query = new URLSearchParams({ from: toRfc3339(from), to: toRfc3339(to) });
  const wire = (await call('GET', `${camera(id)}/timeline?${query}`)) as WireTimeline;
  setClock(fromRfc3339(wire.now), sent, Date.now());
  const times = <T extends { start: string; end: string }>(row: T) => ({
    ...row,
    start: fromRfc3339(row.start),
    end: fromRfc3339(row.end),
  });
  return {
    camera: wire.camera,
    from: fromRfc3339(wire.from),
    to: fromRfc3339(wire.to),
    recordings: wire.recordings.map(times),
    gaps: wire.gaps.map(times),
  };
}

export async function grant(id: string, action: Action): Promise<Grant> {
  return (await call('POST', `${camera(id)}/grants`, { action })) as Grant;
}
