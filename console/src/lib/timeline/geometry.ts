/**
 * The geometry of the timeline: pure functions between time and pixels.
 *
 * All times are milliseconds since the UNIX epoch (UTC), all lengths are CSS pixels. A view is never inside out:
 * `from < to`, and its span stays within MIN_SPAN and MAX_SPAN.
 */

export interface View {
  readonly from: number;
  readonly to: number;
}

export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Tick {
  readonly time: number;
  readonly x: number;
  /** A labelled tick; the others are short strokes between two of these. */
  readonly major: boolean;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const PRESETS = { '10m': 10 * MINUTE, '1h': HOUR, '24h': DAY } as const;
export type Preset = keyof typeof PRESETS;

export const MIN_SPAN = 20 * SECOND;
export const MAX_SPAN = 14 * DAY;

/** Where the live edge stands in a view that follows it: a little future is left visible. */
const LIVE_EDGE = 0.94;
const LABEL_PIXELS = 92;

/** Steps between labels, each with the number of strokes it is divided into. */
const STEPS: readonly (readonly [step: number, parts: number])[] = [
  [SECOND, 1], [5 * SECOND, 5], [10 * SECOND, 5], [30 * SECOND, 6],
  [MINUTE, 6], [2 * MINUTE, 4], [5 * MINUTE, 5], [10 * MINUTE, 5], [30 * MINUTE, 6],
  [HOUR, 6], [2 * HOUR, 4], [3 * HOUR, 6], [6 * HOUR, 6], [12 * HOUR, 6],
  [DAY, 4], [2 * DAY, 4], [7 * DAY, 7],
];

export function span(view: View): number {
  return view.to - view.from;
}

export function xOf(view: View, width: number, time: number): number {
  return ((time - view.from) / span(view)) * width;
}

export function timeOf(view: View, width: number, x: number): number {
  return view.from + (width > 0 ? x / width : 0) * span(view);
}

/** Zooms by a factor (above 1: out) so that `anchor` keeps its place on the screen. */
export function zoom(view: View, factor: number, anchor: number): View {
  const next = Math.min(MAX_SPAN, Math.max(MIN_SPAN, span(view) * factor));
  const share = (anchor - view.from) / span(view);
  const from = anchor - share * next;
  return { from, to: from + next };
}

export function pan(view: View, by: number): View {
  return { from: view.from + by, to: view.to + by };
}

/** A view of the given span around what is looked at: the live edge near its right end, a playing position amid. */
export function viewOf(length: number, focus: number, live: boolean): View {
  const from = focus - length * (live ? LIVE_EDGE : 0.5);
  return { from, to: from + length };
}

/** The view moved as little as needed for `time` to be well inside; the same object when it is already. */
export function keepVisible(view: View, time: number): View {
  const margin = span(view) * (1 - LIVE_EDGE);
  if (time > view.to - margin) return pan(view, time - (view.to - margin));
  if (time < view.from + margin) return pan(view, time - (view.from + margin));
  return view;
}

/** The visible part of a span of time, at least one pixel wide; null when nothing of it is visible. */
export function clip(view: View, width: number, piece: Span): { x: number; width: number } | null {
  if (piece.end < view.from || piece.start > view.to || piece.end < piece.start) return null;
  const left = Math.max(0, xOf(view, width, piece.start));
  const right = Math.min(width, xOf(view, width, piece.end));
  return { x: left, width: Math.max(1, right - left) };
}

/**
 * Ticks on round local times; `offsetAt` is local time minus UTC at a moment.
 *
 * Where summer time begins or ends within the view both offsets are tried, and each tick stands by the one in force.
 */
export function ticks(view: View, width: number, offsetAt: (time: number) => number): Tick[] {
  const least = (span(view) * LABEL_PIXELS) / Math.max(width, 1);
  const [step, parts] = STEPS.find(([length]) => length >= least) ?? STEPS[STEPS.length - 1]!;
  const stroke = step / parts;
  const found: Tick[] = [];
  for (const offset of new Set([offsetAt(view.from), offsetAt(view.to)])) {
    for (let local = Math.ceil((view.from + offset) / stroke) * stroke; local <= view.to + offset; local += stroke) {
      const time = local - offset;
      if (offsetAt(time) === offset) found.push({ time, x: xOf(view, width, time), major: local % step === 0 });
    }
  }
  return found.sort((a, b) => a.time - b.time);
}

/** Joins recordings that follow each other without a visible seam, so that a day is a few bars, not 144 files. */
export function join<T extends Span>(pieces: readonly T[], seam = 500): Span[] {
  const joined: { start: number; end: number }[] = [];
  for (const piece of [...pieces].sort((a, b) => a.start - b.start)) {
    const last = joined[joined.length - 1];
    if (last && piece.start - last.end <= seam) last.end = Math.max(last.end, piece.end);
    else joined.push({ start: piece.start, end: piece.end });
  }
  return joined;
}

/** The span that covers a time (start included, end not). */
export function covering<T extends Span>(pieces: readonly T[], time: number): T | undefined {
  return pieces.find((piece) => piece.start <= time && time < piece.end);
}

/** The first recorded moment at or after a time; null when nothing later is recorded. */
export function nextRecorded(recordings: readonly Span[], time: number): number | null {
  let best: number | null = null;
  for (const { start, end } of recordings) {
    if (end <= time) continue;
    const candidate = Math.max(start, time);
    if (best === null || candidate < best) best = candidate;
  }
  return best;
}

/** Two ends in any order as a span, cut to whole milliseconds. */
export function spanOf(a: number, b: number): Span {
  return { start: Math.round(Math.min(a, b)), end: Math.round(Math.max(a, b)) };
}
