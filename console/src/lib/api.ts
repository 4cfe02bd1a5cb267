/** The web role's JSON API. Every call can throw ApiError; a 401 also ends the session for the whole page. */

import { fromRfc3339, toRfc3339 } from './time';

export type Permission = 'watch' | 'playback' | 'export' | 'control' | 'talk' | 'diagnose' | 'administer';
export type Role = 'admin' | 'operator' | 'viewer';
export type MediaState = 'recording' | 'live' | 'no-media' | 'offline' | 'idle';
export type Action = 'live' | 'sub' | 'playback' | 'export';

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
  /** Whether it has a smaller picture beside its main one. */
  readonly sub: boolean;
  readonly signalling: 'online' | 'offline';
  readonly media: MediaState;
  readonly since: string | null;
  readonly instance: string | null;
}

/** A media worker and what it carries; rates in bit/s, the disk in bytes. */
export interface Worker {
  readonly id: string;
  readonly state: 'ready' | 'full' | 'away';
  readonly cameras: number;
  readonly viewers: number;
  readonly in_bps: number;
  readonly out_bps: number;
  readonly disk_free: number;
  readonly disk_total: number;
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

/** A recorded time in which pictures cannot be shown as they were taken. */
export interface Damage {
  readonly start: number;
  readonly end: number;
  readonly pictures: number;
  readonly packets: number;
}

export interface TimelineData {
  readonly camera: string;
  readonly from: number;
  readonly to: number;
  readonly recordings: readonly Recording[];
  readonly gaps: readonly Gap[];
  readonly damage: readonly Damage[];
}

export interface Grant {
  /** Path prefix of the camera's media instance. */
  readonly url: string;
  readonly token: string;
  /** For how many seconds from now the token is good. */
  readonly lifetime: number;
}

export type CallState = 'calling' | 'ringing' | 'established' | 'ended' | 'cancelled' | 'failed';

export interface Verdict {
  readonly code: string;
  readonly who: string;
  readonly origin: string;
  readonly status: number;
  readonly reason: string;
  readonly seconds: number;
  /** The verdict in English. */
  readonly text: string;
  readonly hint: string;
}

export interface Call {
  readonly id: string;
  readonly started: number;
  /** Null while the call goes on. */
  readonly ended: number | null;
  readonly caller: string;
  readonly proven: boolean;
  readonly callee: string;
  readonly state: CallState;
  readonly times: number;
  readonly verdict: Verdict;
}

export interface Participant {
  readonly name: string;
  readonly address: string;
  readonly proven: boolean;
  readonly server: boolean;
}

export interface Message {
  /** Milliseconds since the call began. */
  readonly at: number;
  readonly from: number;
  readonly to: number;
  readonly line: string;
  readonly cseq: string;
  readonly facts: readonly string[];
  readonly again: number;
}

export interface TracedCall extends Call {
  readonly participants: readonly Participant[];
  readonly messages: readonly Message[];
  readonly left_out: number;
  readonly calls: readonly Call[];
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

export async function mediaWorkers(): Promise<Worker[]> {
  return (await call('GET', '/api/media-workers')) as Worker[];
}

interface WireTimeline {
  camera: string;
  from: string;
  to: string;
  now: string;
  recordings: { start: string; end: string; sealed: boolean }[];
  gaps: { start: string; end: string; cause: string }[];
  damage: { start: string; end: string; pictures: number; packets: number }[];
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
    damage: wire.damage.map(times),
  };
}

export async function grant(id: string, action: Action): Promise<Grant> {
  return (await call('POST', `${camera(id)}/grants`, { action })) as Grant;
}

type Wire<T> = Omit<T, 'started' | 'ended' | 'calls'> & { started: string; ended: string | null };

function timed<T extends Call>(wire: Wire<T>): T {
  const times = { started: fromRfc3339(wire.started), ended: wire.ended === null ? null : fromRfc3339(wire.ended) };
  return { ...wire, ...times } as unknown as T;
}

/** The last calls, newest first: all, or those of one camera or person. */
export async function calls(party: string): Promise<Call[]> {
  const query = new URLSearchParams({ party, limit: '200' });
  return ((await call('GET', `/api/calls?${query}`)) as Wire<Call>[]).map((one) => timed<Call>(one));
}

/** One call, message by message, with those that belong to it. */
export async function tracedCall(id: string): Promise<TracedCall> {
  const wire = (await call('GET', `/api/calls/${encodeURIComponent(id)}`)) as Wire<TracedCall> & { calls: Wire<Call>[] };
  return { ...timed<TracedCall>(wire), calls: wire.calls.map((one) => timed<Call>(one)) };
}
