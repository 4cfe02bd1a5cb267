/**
 * How a live picture is kept fresh: decisions only, so that they can be tested without a video element.
 *
 * The player holds a small cushion of buffered media (`target`). Far behind it jumps, slightly behind it plays
 * a little faster, about to run dry a little slower. A stall makes the cushion larger, quiet time smaller again,
 * so that a good network gives the least delay and a bad one still gives a steady picture.
 */

export interface Playhead {
  /** Where the video element plays, and the last buffered range it could play from (media seconds). */
  readonly current: number;
  readonly start: number;
  readonly end: number;
  readonly rate: number;
}

export interface Steering {
  readonly rate: number;
  /** Media time to jump to, when nudging the speed is not enough. */
  readonly seek?: number;
}

export const LEAST_TARGET = 0.15;
export const MOST_TARGET = 0.5;

/** Behind by more than this, a viewer would notice that live is not live: jump. */
const JUMP_BEHIND = 0.6;
const JUMP_OVER_TARGET = 0.45;
const FASTER = 1.1;
const SLOWER = 0.95;
const SLACK = 0.12;
/** A correction ends only when the cushion is nearly right, so that the speed does not flutter. */
const SETTLED = 0.03;

export function steer(playhead: Playhead, target: number): Steering {
  const { current, start, end, rate } = playhead;
  const landing = Math.max(start, end - target);
  if (current < start - 0.01 || current > end + 1) return { rate: 1, seek: landing };
  const behind = end - current;
  if (behind > Math.max(JUMP_BEHIND, target + JUMP_OVER_TARGET)) return { rate: 1, seek: landing };
  if (behind > target + SLACK) return { rate: FASTER };
  if (rate > 1 && behind > target + SETTLED) return { rate: FASTER };
  if (behind < target / 3) return { rate: SLOWER };
  if (rate < 1 && behind < target - SETTLED) return { rate: SLOWER };
  return { rate: 1 };
}

/** The size of the cushion, grown by stalls and shrunk by quiet time. Times are seconds of any steady clock. */
export class Cushion {
  target = LEAST_TARGET;
  #quietSince = 0;

  stalled(now: number): void {
    this.target = Math.min(MOST_TARGET, this.target + 0.1);
    this.#quietSince = now;
  }

  calm(now: number): void {
    if (now - this.#quietSince < 20) return;
    this.target = Math.max(LEAST_TARGET, this.target - 0.05);
    this.#quietSince = now;
  }
}

/** Seconds of played media kept: more than the longest usual group of pictures, or a jump finds no keyframe. */
const KEEP = 30;
const TRIM_EVERY = 10;

/** Up to which media time the buffer may be emptied; null when it is not worth the work yet. */
export function trimPoint(bufferedFrom: number, current: number): number | null {
  return current - bufferedFrom > KEEP + TRIM_EVERY ? current - KEEP : null;
}
