import { serverNow } from './api';

let now = $state(serverNow());
let users = 0;
let timer: ReturnType<typeof setInterval> | undefined;

/** The server's time, moving on four times a second while a component shows it (reactive). */
export function clock(): number {
  return now;
}

/** To be called in an effect of whoever shows the time. */
export function runClock(): () => void {
  now = serverNow();
  if (users++ === 0) timer = setInterval(() => (now = serverNow()), 250);
  return () => {
    if (--users === 0) clearInterval(timer);
  };
}
