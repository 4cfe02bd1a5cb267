/** Times for people and for the API. Inside the console a time is milliseconds since the epoch (UTC). */

const formats = new Map<string, Intl.DateTimeFormat>();

function format(language: string, options: Intl.DateTimeFormatOptions, key: string): Intl.DateTimeFormat {
  const name = `${language}/${key}`;
  let found = formats.get(name);
  if (!found) {
    found = new Intl.DateTimeFormat(language === 'ko' ? 'ko-KR' : 'en-GB', { hourCycle: 'h23', ...options });
    formats.set(name, found);
  }
  return found;
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' } as const;
const MINUTES = { hour: '2-digit', minute: '2-digit' } as const;
const DATE = { year: 'numeric', month: 'short', day: 'numeric' } as const;
const DAY = { month: 'short', day: 'numeric' } as const;

export const clockTime = (language: string, time: number): string => format(language, CLOCK, 'clock').format(time);
export const date = (language: string, time: number): string => format(language, DATE, 'date').format(time);
export const dateTime = (language: string, time: number): string => `${date(language, time)} ${clockTime(language, time)}`;

/** The label of a tick of the timeline: the date where a day begins, else as exact as the step needs. */
export function tickLabel(language: string, time: number, step: number): string {
  const at = new Date(time);
  if (at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0) return format(language, DAY, 'day').format(time);
  return step < 60_000 ? clockTime(language, time) : format(language, MINUTES, 'minutes').format(time);
}

/** The zone the page shows times in, for example "GMT+9". */
export function zoneName(language: string, time: number): string {
  const parts = format(language, { timeZoneName: 'shortOffset', hour: 'numeric' }, 'zone').formatToParts(time);
  const name = parts.find((part) => part.type === 'timeZoneName')?.value ?? 'UTC';
  return /^GMT(\+0)?$/.test(name) ? 'UTC' : name;
}

/** Local time minus UTC at a moment. */
export function zoneOffset(time: number): number {
  return -new Date(time).getTimezoneOffset() * 60_000;
}

/** RFC 3339 in UTC, as the API wants it. */
export function toRfc3339(time: number): string {
  return new Date(Math.round(time)).toISOString();
}

/** Milliseconds of an RFC 3339 time; throws RangeError on anything else, since the API never sends it. */
export function fromRfc3339(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new RangeError(`not a time: ${text}`);
  return time;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** The value of a `datetime-local` input with seconds, in the page's zone. */
export function toInput(time: number): string {
  const at = new Date(time);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** What a `datetime-local` input says; null while it is incomplete. */
export function fromInput(value: string): number | null {
  const time = new Date(value).getTime();
  return Number.isNaN(time) ? null : time;
}

export interface DurationWords {
  readonly key: 'duration.s' | 'duration.ms' | 'duration.hm' | 'duration.dh';
  readonly values: Record<string, number>;
}

/** A length of time in its two largest units. */
export function durationWords(length: number): DurationWords {
  const s = Math.max(0, Math.round(length / 1000));
  if (s < 60) return { key: 'duration.s', values: { s } };
  if (s < 3600) return { key: 'duration.ms', values: { m: Math.floor(s / 60), s: s % 60 } };
  if (s < 86400) return { key: 'duration.hm', values: { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) } };
  return { key: 'duration.dh', values: { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) } };
}
