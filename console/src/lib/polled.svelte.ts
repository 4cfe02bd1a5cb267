import { ApiError } from './api';

/** How often what is shown is asked for again. */
const EVERY = 1500;

/** Something of the server that is read again and again while `run`'s cleanup has not been called. */
export class Polled<T> {
  #value = $state.raw<T | null>(null);
  #status = $state(200);
  #turn = 0;

  /** The newest answer; null before the first. */
  get value(): T | null {
    return this.#value;
  }

  /** The HTTP status of the last attempt: 200 when it went well, 0 when nobody answered. */
  get status(): number {
    return this.#status;
  }

  /** Reads at once and from then on; to be called in an effect. */
  run(read: () => Promise<T>): () => void {
    const turn = ++this.#turn;
    let timer: ReturnType<typeof setTimeout> | undefined;
    this.#value = null;
    const next = async (): Promise<void> => {
      try {
        const value = await read();
        if (turn !== this.#turn) return;
        this.#status = 200;
        // Same answer, same object: nothing on the page is drawn again.
        if (JSON.stringify(value) !== JSON.stringify(this.#value)) this.#value = value;
      } catch (error) {
        if (!(error instanceof ApiError) || turn !== this.#turn) return;
        this.#status = error.status;
      }
      timer = setTimeout(() => void next(), EVERY);
    };
    void next();
    return () => {
      this.#turn++;
      clearTimeout(timer);
    };
  }
}
