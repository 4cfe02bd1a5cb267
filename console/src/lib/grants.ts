import type { Grant } from './api';

/** A token is renewed when this share of its lifetime has passed. */
const RENEW_AT = 0.6;

/**
 * Holds one camera's grant for one action and renews it before it runs out, for as long as it is wanted.
 *
 * `renewed` is told every new grant after the first; a failed renewal is tried again until the grant is over.
 */
export class GrantKeeper {
  #grant: Grant | null = null;
  #expires = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pending: Promise<Grant> | null = null;
  #closed = false;

  constructor(
    private readonly fetchGrant: () => Promise<Grant>,
    private readonly renewed: (grant: Grant) => void = () => {},
  ) {}

  /** The grant now held, for those who cannot wait; null before the first. */
  get current(): Grant | null {
    return this.#grant;
  }

  /** A grant that is still good, fetched when there is none. Throws what the fetch throws. */
  async get(): Promise<Grant> {
    if (this.#grant && performance.now() < this.#expires) return this.#grant;
    return this.#fetch();
  }

  /** Forgets the grant, because a server did not take it. */
  drop(): void {
    this.#grant = null;
    clearTimeout(this.#timer);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #fetch(): Promise<Grant> {
    this.#pending ??= this.fetchGrant()
      .then((grant) => this.#take(grant))
      .finally(() => {
        this.#pending = null;
      });
    return this.#pending;
  }

  #take(grant: Grant): Grant {
    this.#grant = grant;
    this.#expires = performance.now() + grant.lifetime * 900;
    this.#plan(grant.lifetime * RENEW_AT);
    return grant;
  }

  #plan(seconds: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#fetch().then(this.renewed, () => {
        if (performance.now() < this.#expires) this.#plan(5);
      });
    }, seconds * 1000);
  }
}
