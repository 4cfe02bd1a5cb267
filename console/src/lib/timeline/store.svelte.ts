import { ApiError, serverNow, timeline, type TimelineData } from '../api';
import { MAX_SPAN, nextRecorded, span, type View } from './geometry';

const EVERY = 2000;
const HOUR = 3_600_000;

/** The timeline of one camera, read as wide as the view needs and again while it can still change. */
export class TimelineStore {
  #data = $state.raw<TimelineData | null>(null);
  #failed = $state(false);
  #view: View | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  constructor(private readonly camera: string) {}

  get data(): TimelineData | null {
    return this.#data;
  }

  /** True while the last attempt to read did not work. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Tells what is looked at now; reads when that is not yet at hand. */
  show(view: View): void {
    this.#view = view;
    const data = this.#data;
    const here = data && data.from <= view.from && data.to >= Math.min(view.to, serverNow());
    if (!here || span(view) * 6 < data.to - data.from) this.#soon(120);
  }

  /** The first recorded moment at or after a time, asked from the server in ever larger steps. */
  async nextRecorded(wall: number): Promise<number | null> {
    for (const reach of [HOUR, 24 * HOUR, MAX_SPAN]) {
      const { recordings } = await timeline(this.camera, wall, wall + reach);
      const found = nextRecorded(recordings, wall);
      if (found !== null) return found;
      if (wall + reach > serverNow()) return null;
    }
    return null;
  }

  stop(): void {
    this.#turn++;
    this.#view = null;
    clearTimeout(this.#timer);
  }

  #soon(wait: number): void {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    this.#timer = setTimeout(() => void this.#read(turn), wait);
  }

  async #read(turn: number): Promise<void> {
    const view = this.#view;
    if (!view) return;
    const margin = Math.min(span(view), MAX_SPAN / 4);
    try {
      const data = await timeline(this.camera, view.from - margin, view.to + margin);
      if (turn !== this.#turn) return;
      this.#data = data;
      this.#failed = false;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#failed = !(error instanceof ApiError) || error.status !== 401;
      if (!(error instanceof ApiError)) throw error;
    } finally {
      // What lies in the past for good is not asked for again; a failure is.
      if (turn === this.#turn && (this.#failed || view.to + margin >= serverNow())) this.#soon(EVERY);
    }
  }
}
