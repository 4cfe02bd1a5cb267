import { ApiError, currentSession, onSessionEnd, signIn, signOut, type Permission, type Session } from './api';

export type SessionState =
  | { readonly is: 'unknown' }
  | { readonly is: 'out'; readonly ended: boolean }
  | { readonly is: 'in'; readonly session: Session };

let state = $state.raw<SessionState>({ is: 'unknown' });

onSessionEnd(() => {
  // Several requests under way learn of it one after the other: it was the first that found somebody signed in.
  if (state.is !== 'out') state = { is: 'out', ended: state.is === 'in' };
});

export function sessionState(): SessionState {
  return state;
}

export function can(permission: Permission): boolean {
  return state.is === 'in' && state.session.permissions.includes(permission);
}

/** Asks whether the browser's cookie still opens a session; keeps asking while the server is away. */
export async function resume(): Promise<void> {
  try {
    const session = await currentSession();
    state = session ? { is: 'in', session } : { is: 'out', ended: false };
  } catch (error) {
    setTimeout(() => void resume(), 2000);
    if (!(error instanceof ApiError)) throw error;
  }
}

export async function enter(name: string, password: string): Promise<void> {
  state = { is: 'in', session: await signIn(name, password) };
}

export async function leave(): Promise<void> {
  await signOut().catch(() => {});
  state = { is: 'out', ended: false };
}
