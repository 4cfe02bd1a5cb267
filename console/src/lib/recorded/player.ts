import Hls, { type ErrorData, type HlsConfig, type LevelDetails } from 'hls.js/light';
import type { Grant } from '../api';
import { Backoff } from '../backoff';
import { GrantKeeper } from '../grants';
import { toRfc3339 } from '../time';
import { endOf, jumpBetween, mediaAt, piecesOf, startAt, wallAt, type Jump, type Piece } from './programme';

export type RecordedPhase = 'loading' | 'playing' | 'paused' | 'nothing' | 'failed' | 'forbidden';

export interface RecordedStatus {
  readonly phase: RecordedPhase;
  readonly detail: string;
}

export interface RecordedEvents {
  status(status: RecordedStatus): void;
  /** The wall time of the picture now shown, in milliseconds. */
  position(wall: number): void;
  /** A gap was skipped. */
  jumped(jump: Jump): void;
  /** Nothing newer is recorded: playback has caught up with the camera. */
  caughtUp(): void;
}

/** How much is asked for around the wished time: a little before, so that a step back needs no new playlist. */
const BEFORE = 30_000;
const AFTER = 30 * 60_000;

type Position = number;

/**
 * Plays recordings of one camera by wall time. `playAt` may be called again at any moment; `stop` once, at the end.
 *
 * A playlist covers half an hour; when it ends the next one is fetched from where something is recorded.
 */
export class RecordedPlayer {
  #hls: Hls | null = null;
  #details: LevelDetails | null = null;
  #phase: RecordedPhase = 'loading';
  #last: Position = 0;
  #wish: Position = 0;
  #stopped = false;
  #turn = 0;
  #loaded = false;
  #rate = 1;
  #renewals = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #backoff = new Backoff();
  readonly #grants: GrantKeeper;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly camera: string,
    grant: () => Promise<Grant>,
    /** The first recorded moment at or after a time; null when nothing later is recorded. */
    private readonly nextRecorded: (wall: number) => Promise<number | null>,
    private readonly events: RecordedEvents,
  ) {
    this.#grants = new GrantKeeper(grant);
    video.addEventListener('timeupdate', this.#onTime);
    video.addEventListener('ended', this.#onEnded);
    video.addEventListener('play', this.#onPlay);
    video.addEventListener('playing', this.#onPlaying);
    video.addEventListener('pause', this.#onPause);
    video.addEventListener('waiting', this.#onWaiting);
  }

  /** The picture of this wall time, or the first one after it. */
  async playAt(wall: number): Promise<void> {
    this.#wish = wall;
    // Whatever was still being asked for is wished no more.
    const turn = ++this.#turn;
    clearTimeout(this.#retry);
    const inside = this.#loaded ? mediaAt(this.#pieces(), wall) : null;
    if (inside !== null) {
      this.video.currentTime = inside;
      this.resume();
      return;
    }
    this.#say('loading');
    this.#close();
    try {
      const found = await this.nextRecorded(wall);
      if (this.#stopped || turn !== this.#turn) return;
      if (found === null) return this.#say('nothing');
      this.#wish = found;
      const grant = await this.#grants.get();
      if (this.#stopped || turn !== this.#turn) return;
      this.#open(grant, found);
    } catch (error) {
      if (turn === this.#turn) this.#refused(error);
    }
  }

  pause(): void {
    this.video.pause();
  }

  resume(): void {
    this.video.playbackRate = this.#rate;
    void this.video.play().catch(() => {});
  }

  set rate(rate: number) {
    this.#rate = rate;
    this.video.playbackRate = rate;
  }

  /** The wall time of the picture now shown; the wished one while it is being fetched. */
  get position(): number {
    return this.#loaded ? (wallAt(this.#pieces(), this.video.currentTime) ?? this.#wish) : this.#wish;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
    this.#grants.close();
    this.#close();
    this.video.removeEventListener('timeupdate', this.#onTime);
    this.video.removeEventListener('ended', this.#onEnded);
    this.video.removeEventListener('play', this.#onPlay);
    this.video.removeEventListener('playing', this.#onPlaying);
    this.video.removeEventListener('pause', this.#onPause);
    this.video.removeEventListener('waiting', this.#onWaiting);
    this.video.playbackRate = 1;
  }

  #open(grant: Grant, wall: number): void {
    const hls = new Hls(this.#config());
    this.#hls = hls;
    hls.on(Hls.Events.LEVEL_LOADED, (_event, { details }) => {
      if (hls !== this.#hls || this.#details) return;
      this.#details = details;
      hls.startLoad(startAt(this.#pieces(), wall));
    });
    hls.on(Hls.Events.FRAG_BUFFERED, () => {
      this.#renewals = 0;
      this.#shown(hls);
    });
    hls.on(Hls.Events.ERROR, (_event, data) => this.#failed(hls, data));
    hls.attachMedia(this.video);
    hls.loadSource(this.#playlist(grant, wall));
  }

  #config(): Partial<HlsConfig> {
    return {
      autoStartLoad: false,
      enableWorker: false, // Nothing to transmux in fMP4, and the page's policy forbids workers from blobs.
      backBufferLength: 30,
      maxBufferLength: 20,
      maxMaxBufferLength: 40,
      xhrSetup: (xhr, url) => xhr.open('GET', this.#signed(url), true),
    };
  }

  /** Addresses in a playlist carry the token of the time it was made; the one in force now is put in its place. */
  #signed(url: string): string {
    const token = this.#grants.current?.token;
    if (!token) return url;
    const address = new URL(url, location.href);
    address.searchParams.set('token', token);
    return address.href;
  }

  #playlist(grant: Grant, wall: number): string {
    const query = new URLSearchParams({
      from: toRfc3339(wall - BEFORE), to: toRfc3339(wall + AFTER), token: grant.token,
    });
    return new URL(`${grant.url}/hls/${encodeURIComponent(this.camera)}/index.m3u8?${query}`, location.href).href;
  }

  /** Once the first media lie in the buffer, their exact times are known: show the wished picture. */
  #shown(hls: Hls): void {
    if (this.#loaded || hls !== this.#hls) return;
    this.#loaded = true;
    this.video.currentTime = startAt(this.#pieces(), this.#wish);
    this.resume();
  }

  #failed(hls: Hls, data: ErrorData): void {
    if (hls !== this.#hls) return;
    const code = data.response?.code;
    if ((code === 401 || code === 403) && this.#renewals < 2) {
      this.#renewals += 1;
      void this.#renew(hls);
    } else if (data.fatal) this.#fatal(hls, data);
  }

  async #renew(hls: Hls): Promise<void> {
    this.#grants.drop();
    try {
      const grant = await this.#grants.get();
      if (hls !== this.#hls) return;
      if (this.#details) hls.startLoad(this.#loaded ? this.video.currentTime : startAt(this.#pieces(), this.#wish));
      else hls.loadSource(this.#playlist(grant, this.#wish));
    } catch (error) {
      if (hls === this.#hls) this.#refused(error);
    }
  }

  #fatal(hls: Hls, data: ErrorData): void {
    if (data.response?.code === 404 && !this.#details) return this.#say('nothing');
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && this.#renewals < 2) {
      this.#renewals += 1;
      hls.recoverMediaError();
      return;
    }
    this.#close();
    this.#say('failed', data.details);
  }

  #refused(error: unknown): void {
    const { status = 0, message = '' } = error as { status?: number; message?: string };
    if (status === 403) this.#say('forbidden');
    else if (status !== 401) this.#say('failed', message);
  }

  #onTime = (): void => {
    if (!this.#loaded || this.video.seeking) return;
    const wall = this.position;
    const jump = this.#last ? jumpBetween(this.#pieces(), this.#last, wall) : null;
    if (jump && !this.video.paused) this.events.jumped(jump);
    this.#last = wall;
    this.events.position(wall);
  };

  #onEnded = (): void => {
    const end = endOf(this.#pieces());
    if (end !== null) void this.#continue(end);
  };

  async #continue(end: number): Promise<void> {
    const turn = this.#turn;
    let found: number | null;
    try {
      found = await this.nextRecorded(end + 50);
    } catch (error) {
      if (this.#stopped || turn !== this.#turn) return;
      // Not to know what comes next is not to have caught up.
      const { status = 0 } = error as { status?: number };
      if (status !== 0 && status < 500) return this.#refused(error);
      this.#say('loading');
      this.#retry = setTimeout(() => void this.#continue(end), this.#backoff.next() * 1000);
      return;
    }
    if (this.#stopped || turn !== this.#turn) return;
    this.#backoff.reset();
    if (found === null) return this.events.caughtUp();
    if (found - end > 1000) this.events.jumped({ from: end, to: found });
    this.#close();
    await this.playAt(found);
  }

  #onPlay = (): void => this.#say(this.#loaded ? 'playing' : 'loading');
  #onPlaying = (): void => this.#say('playing');
  #onWaiting = (): void => this.#say('loading');
  #onPause = (): void => {
    if (this.#loaded && !this.video.ended) this.#say('paused');
  };

  #pieces(): Piece[] {
    return this.#details ? piecesOf(this.#details.fragments) : [];
  }

  #close(): void {
    this.#hls?.destroy();
    this.#hls = null;
    this.#details = null;
    this.#loaded = false;
    this.#last = 0;
  }

  #say(phase: RecordedPhase, detail = ''): void {
    if (phase === this.#phase && !detail && phase !== 'loading') return;
    this.#phase = phase;
    this.events.status({ phase, detail });
  }
}
