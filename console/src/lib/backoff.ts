/** Waiting times between attempts: doubled from `first` to `most`, spread so that a hundred pages do not knock at once. */
export class Backoff {
  #attempt = 0;

  constructor(
    private readonly first = 0.5,
    private readonly most = 10,
    private readonly random: () => number = Math.random,
  ) {}

  /** Seconds to wait before the next attempt. */
  next(): number {
    const whole = Math.min(this.most, this.first * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    return whole * (0.75 + this.random() / 2);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
