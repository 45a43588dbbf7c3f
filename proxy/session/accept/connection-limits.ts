import { type Refusal, refuseSession } from "../../wire/refusal.ts";

/**
 * How many clients there may be, in all and of one user. With several worker processes the places are those
 * of all together, and their first process gives them out.
 */
export interface Seats {
  /** A client asks to log in. Without a refusal it has a place, and must leave it. */
  enter(): Promise<Refusal | undefined>;
  /** The client has proved its user. Without a refusal it counts as one of this user's, and must leave as such. */
  settle(user: string): Promise<Refusal | undefined>;
  /** `user` once the client has settled. */
  leave(user: string | undefined): void;
}

export interface SeatLimits {
  readonly maxClients: number;
  /** None if left out. */
  readonly maxClientsPerUser?: number | undefined;
}

/** Counts the seats that are taken. */
export class SeatCount implements Seats {
  readonly #limits: SeatLimits;
  readonly #users = new Map<string, number>();
  #taken = 0;

  constructor(limits: SeatLimits) {
    this.#limits = limits;
  }

  get taken(): number {
    return this.#taken;
  }

  async enter(): Promise<Refusal | undefined> {
    const { maxClients } = this.#limits;
    // In the words of postinit.c.
    if (this.#taken >= maxClients) {
      return refuseSession("53300", "sorry, too many clients already", {
        hint: `This proxy takes ${maxClients} clients at a time (--max-clients).`,
      });
    }
    this.#taken++;
    return undefined;
  }

  async settle(user: string): Promise<Refusal | undefined> {
    const { maxClientsPerUser } = this.#limits;
    const taken = this.#users.get(user) ?? 0;
    if (maxClientsPerUser !== undefined && taken >= maxClientsPerUser) {
      // As postinit.c says it of a role's CONNECTION LIMIT.
      return refuseSession("53300", `too many connections for role "${user}"`, {
        hint: `This proxy takes ${maxClientsPerUser} sessions of one user at a time (--max-clients-per-user).`,
      });
    }
    this.#users.set(user, taken + 1);
    return undefined;
  }

  leave(user: string | undefined): void {
    this.#taken--;
    if (user === undefined) return;
    const left = (this.#users.get(user) ?? 1) - 1;
    if (left === 0) this.#users.delete(user);
    else this.#users.set(user, left);
  }
}

/** The seats that one process has taken of a count that several share: when it dies, they are free again. */
export class SharedSeats implements Seats {
  readonly #whole: SeatCount;
  readonly #users: string[] = [];
  #unsettled = 0;

  constructor(whole: SeatCount) {
    this.#whole = whole;
  }

  async enter(): Promise<Refusal | undefined> {
    const refusal = await this.#whole.enter();
    if (refusal === undefined) this.#unsettled++;
    return refusal;
  }

  async settle(user: string): Promise<Refusal | undefined> {
    const refusal = await this.#whole.settle(user);
    if (refusal !== undefined) return refusal;
    this.#unsettled--;
    this.#users.push(user);
    return undefined;
  }

  leave(user: string | undefined): void {
    if (user === undefined) this.#unsettled--;
    else this.#users.splice(this.#users.indexOf(user), 1);
    this.#whole.leave(user);
  }

  /** The process is gone. */
  leaveAll(): void {
    for (const user of this.#users.splice(0)) this.#whole.leave(user);
    for (; this.#unsettled > 0; this.#unsettled--) this.#whole.leave(undefined);
  }
}
