import type { Grant, MediaState } from '../api';
import { Backoff } from '../backoff';
import { GrantKeeper } from '../grants';
import { Cushion, steer, trimPoint } from './steer';

/** What a live picture is doing, in words the page has texts for. */
export type LivePhase = 'connecting' | 'playing' | 'stalled' | 'waiting' | 'ended';
export type LiveReason =
  | 'reconnecting' | 'unreachable' | 'unplaced' | 'forbidden' | 'unknown' | 'codec' | 'unsupported' | null;

/** The main stream of a camera, or its smaller one; also the action that the grant is for. */
export type LiveStream = 'live' | 'sub';

export interface LiveStatus {
  readonly phase: LivePhase;
  readonly reason: LiveReason;
  /** What the media server says of the camera; null until it says something. */
  readonly media: MediaState | null;
  readonly codec: string;
}

/** Close codes of the media server's live socket. */
const CLOSE = { expired: 4401, forbidden: 4403, unknown: 4404, unreachable: 4503 } as const;

/** No chunk for this long is told to the person who looks: a frozen picture must not pass for a quiet scene. */
const STALLED_AFTER = 3;
/** A connection that brings nothing at all is given up, for example when a machine between vanished. */
const SILENT_AFTER = 20;
/** Chunks that wait for the decoder; far more than a second of them means that it cannot keep up. */
const MOST_QUEUED = 256;

type Source = typeof MediaSource;

/** Safari on phones has only the managed kind. */
function mediaSource(): Source | undefined {
  const known = globalThis as { ManagedMediaSource?: Source; MediaSource?: Source };
  return known.MediaSource ?? known.ManagedMediaSource;
}

type Told =
  | { type: 'init'; mime: string }
  | { type: 'state'; media: MediaState };

/**
 * Plays one camera live: WebSocket in, Media Source Extensions out, kept within a fraction of a second of now.
 *
 * `start`, then `stop` once. In between it connects again by itself; only a lost right, a camera that is gone
 * or a codec that this browser lacks end it (`phase: 'ended'`).
 */
export class LivePlayer {
  #status: LiveStatus = { phase: 'connecting', reason: null, media: null, codec: '' };
  #socket: WebSocket | null = null;
  #source: MediaSource | null = null;
  #buffer: SourceBuffer | null = null;
  #address = '';
  #mime = '';
  #queue: ArrayBuffer[] = [];
  #lastChunk = 0;
  /** Whether the connection that stands now has brought media: what an earlier one left in the buffer is not live. */
  #flowing = false;
  #lastSeek = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;
  #stopped = false;
  readonly #backoff = new Backoff();
  readonly #cushion = new Cushion();
  readonly #grants: GrantKeeper;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly camera: string,
    grant: () => Promise<Grant>,
    private readonly told: (status: LiveStatus) => void,
    private readonly stream: LiveStream = 'live',
  ) {
    this.#grants = new GrantKeeper(grant, ({ token }) => this.#send({ type: 'token', token }));
  }

  start(): void {
    this.told(this.#status);
    this.video.addEventListener('waiting', this.#onWaiting);
    this.video.addEventListener('error', this.#onError);
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#beat = setInterval(() => this.#tick(), 250);
    void this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
    clearInterval(this.#beat);
    this.video.removeEventListener('waiting', this.#onWaiting);
    this.video.removeEventListener('error', this.#onError);
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#grants.close();
    this.#hangUp();
    this.#dropSource();
  }

  #onWaiting = (): void => {
    // A jump makes the element wait too; only running dry asks for a larger cushion.
    if (this.#status.phase === 'playing' && now() - this.#lastSeek > 1) this.#cushion.stalled(now());
  };

  #onError = (): void => {
    // A picture that cannot be decoded ends the element's source: what comes now needs a new one.
    if (this.#source) this.#startOver();
  };

  #onVisible = (): void => {
    if (!document.hidden) this.#follow();
  };

  async #connect(): Promise<void> {
    let grant: Grant;
    try {
      grant = await this.#grants.get();
    } catch (error) {
      this.#refused(error);
      return;
    }
    if (this.#stopped) return;
    const address = new URL(`${grant.url}/${this.stream}/${encodeURIComponent(this.camera)}`, location.href);
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
    address.searchParams.set('token', grant.token);
    const socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.#socket = socket;
    this.#lastChunk = now();
  }

  #refused(error: unknown): void {
    const { status = 0, code = '' } = error as { status?: number; code?: string };
    if (status === 403) this.#end('forbidden');
    else if (status === 404) this.#end('unknown');
    else if (status !== 401) this.#again(code === 'no_media_server' ? 'unplaced' : 'reconnecting');
  }

  #closed(code: number): void {
    this.#socket = null;
    this.#flowing = false;
    if (this.#stopped) return;
    if (code === CLOSE.forbidden) this.#end('forbidden');
    else if (code === CLOSE.unknown) this.#end('unknown');
    else {
      // Any grant may be why: the media server may have moved, or the token's time may be over.
      this.#grants.drop();
      this.#again(code === CLOSE.unreachable ? 'unreachable' : 'reconnecting');
    }
  }

  #again(reason: LiveReason): void {
    if (this.#stopped) return;
    this.#say({ phase: 'waiting', reason });
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.#connect(), this.#backoff.next() * 1000);
  }

  #end(reason: LiveReason): void {
    this.#say({ phase: 'ended', reason });
    this.#grants.close();
    this.#hangUp();
    this.#dropSource();
  }

  #hangUp(): void {
    if (!this.#socket) return;
    this.#socket.onclose = null;
    this.#socket.onmessage = null;
    this.#socket.close(1000);
    this.#socket = null;
    this.#flowing = false;
  }

  #send(message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data: string | ArrayBuffer): void {
    if (typeof data === 'string') {
      const message = JSON.parse(data) as Told;
      if (message.type === 'init') this.#begin(message.mime);
      else if (message.type === 'state') this.#say({ media: message.media });
      return;
    }
    this.#lastChunk = now();
    this.#flowing = true;
    this.#queue.push(data);
    if (this.#queue.length > MOST_QUEUED) {
      this.#startOver();
      return;
    }
    this.#append();
  }

  /** A new stream of media: at the start, and when the camera changes its codec parameters. */
  #begin(mime: string): void {
    const Kind = mediaSource();
    const codec = /codecs="?([^"]*)/.exec(mime)?.[1] ?? mime;
    this.#say({ codec });
    if (!Kind) return this.#end('unsupported');
    if (!Kind.isTypeSupported(mime)) return this.#end('codec');
    this.#mime = mime;
    this.#dropSource();
    const source = new Kind();
    this.#source = source;
    source.addEventListener('sourceopen', () => this.#opened(source), { once: true });
    this.#address = URL.createObjectURL(source);
    this.video.disableRemotePlayback = true;
    this.video.src = this.#address;
  }

  #opened(source: MediaSource): void {
    if (this.#stopped || source !== this.#source) return;
    source.duration = Infinity;
    const buffer = source.addSourceBuffer(this.#mime);
    buffer.addEventListener('updateend', () => {
      this.#append();
      this.#follow();
    });
    buffer.addEventListener('error', () => this.#startOver());
    this.#buffer = buffer;
    this.#append();
  }

  #append(): void {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating) return;
    // A source that was open and is not any more shows nothing of what is yet to come.
    if (this.#source?.readyState !== 'open') return this.#startOver();
    try {
      const trim = this.#trimPoint(buffer);
      if (trim !== null) buffer.remove(0, trim);
      else if (this.#queue.length > 0) buffer.appendBuffer(joined(this.#queue.splice(0)));
    } catch {
      this.#startOver(); // The buffer is full or the element broken: a new one shows the next picture.
    }
  }

  #trimPoint(buffer: SourceBuffer): number | null {
    return buffer.buffered.length > 0 ? trimPoint(buffer.buffered.start(0), this.video.currentTime) : null;
  }

  /** Stays near the newest picture. */
  #follow(): void {
    const ranges = this.#buffer?.buffered;
    if (!ranges || ranges.length === 0) return;
    const last = ranges.length - 1;
    const { video } = this;
    const playhead = {
      current: video.currentTime, start: ranges.start(last), end: ranges.end(last), rate: video.playbackRate,
    };
    const { rate, seek } = steer(playhead, this.#cushion.target);
    if (seek !== undefined && !video.seeking) {
      video.currentTime = seek;
      this.#lastSeek = now();
    }
    if (video.playbackRate !== rate) video.playbackRate = rate;
    if (video.paused) void video.play().catch(() => {});
    if (this.#flowing && this.#status.phase !== 'playing' && now() - this.#lastChunk < STALLED_AFTER) {
      this.#backoff.reset();
      this.#say({ phase: 'playing', reason: null });
    }
  }

  #tick(): void {
    const silent = now() - this.#lastChunk;
    if (this.#status.phase === 'playing' && silent > STALLED_AFTER) this.#say({ phase: 'stalled', reason: null });
    // A camera that is offline sends nothing for hours; the socket tells so and stays.
    const expected = this.#status.media === 'recording' || this.#status.media === 'live' || this.#status.media === null;
    if (this.#socket && silent > SILENT_AFTER && expected) return this.#startOver();
    this.#cushion.calm(now());
    this.#follow();
  }

  #startOver(): void {
    this.#hangUp();
    this.#dropSource();
    this.#grants.drop();
    this.#again('reconnecting');
  }

  #dropSource(): void {
    this.#queue = [];
    this.#buffer = null;
    this.#source = null;
    if (!this.#address) return;
    URL.revokeObjectURL(this.#address);
    this.#address = '';
    this.video.removeAttribute('src');
    this.video.load();
  }

  #say(change: Partial<LiveStatus>): void {
    this.#status = { ...this.#status, ...change };
    this.told(this.#status);
  }
}

function now(): number {
  return performance.now() / 1000;
}

/** One buffer out of many: an append for every waiting frame would each cost a turn of the event loop. */
function joined(chunks: ArrayBuffer[]): ArrayBuffer {
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(new Uint8Array(chunk), at);
    at += chunk.byteLength;
  }
  return whole.buffer;
}
