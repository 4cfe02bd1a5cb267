import { ApiError, cameras, type Camera } from './api';

/** How often states are asked for; also how soon a page notices that its session has ended. */
const EVERY = 1500;

let list = $state.raw<readonly Camera[] | null>(null);
let reachable = $state(true);
let timer: ReturnType<typeof setTimeout> | undefined;
let running = 0;

/** All cameras with their states (reactive); null before the first answer. */
export function cameraList(): readonly Camera[] | null {
  return list;
}

export function serverReachable(): boolean {
  return reachable;
}

async function poll(turn: number): Promise<void> {
  try {
    const next = await cameras();
    if (turn !== running) return;
    // Same answer, same object: nothing on the page is drawn again.
    if (JSON.stringify(next) !== JSON.stringify(list)) list = next;
    reachable = true;
  } catch (error) {
    if (turn !== running) return;
    reachable = error instanceof ApiError && error.status !== 0 && error.status < 500;
    if (!(error instanceof ApiError)) throw error;
  } finally {
    // Whatever went wrong: a page that asks no more would show old states for ever.
    if (turn === running) timer = setTimeout(() => void poll(turn), EVERY);
  }
}

/** Keeps the list up to date until the returned function is called. */
export function watchCameras(): () => void {
  const turn = ++running;
  void poll(turn);
  return () => {
    running++;
    clearTimeout(timer);
    list = null;
    reachable = true;
  };
}
