import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Copy, DockerfileParser, type Env, type From, type Instruction } from "dockerfile-ast";

export const ROOT = join(import.meta.dirname, "../..");
export const DOCKERFILE = readFileSync(join(ROOT, "Dockerfile"), "utf8");

export interface Stage {
  readonly image: string;
  readonly name: string | undefined;
  readonly steps: readonly Step[];
}

/** Instructions by their keywords, as far as ours has them; another one is an error, lest a test leave it out. */
interface Steps {
  readonly WORKDIR: Argument;
  readonly USER: Argument;
  readonly VOLUME: Argument;
  readonly EXPOSE: Argument;
  readonly RUN: Argument;
  readonly COPY: {
    /** The stage; the build context if there is none. */
    readonly from: string | undefined;
    readonly sources: readonly string[];
    readonly target: string;
  };
  readonly ENV: { readonly variables: Readonly<Record<string, string>> };
  readonly ENTRYPOINT: Words;
  readonly CMD: Words;
  readonly HEALTHCHECK: Words;
}

interface Argument {
  readonly argument: string;
}

/** A program and its arguments. */
interface Words {
  readonly words: readonly string[];
}

export type StepOf<Kind extends keyof Steps> = { readonly kind: Kind } & Steps[Kind];
export type StepKind = keyof Steps;
export type Step = { [Kind in StepKind]: StepOf<Kind> }[StepKind];

export function readStages(text = DOCKERFILE): readonly Stage[] {
  const dockerfile = DockerfileParser.parse(text);
  return dockerfile.getFROMs().map((from) => stageOf(from, dockerfile.getInstructions()));
}

function stageOf(from: From, all: readonly Instruction[]): Stage {
  const start = all.findIndex((one) => one.getRange().start.line === from.getRange().start.line) + 1;
  const next = all.findIndex((one, i) => i >= start && one.getKeyword() === "FROM");
  const steps = all.slice(start, next === -1 ? all.length : next).map(stepOf);
  return { image: from.getImage() ?? "", name: from.getBuildStage() ?? undefined, steps };
}

function stepOf(instruction: Instruction): Step {
  const kind = instruction.getKeyword();
  const argument = instruction.getArgumentsContent() ?? "";
  switch (kind) {
    case "WORKDIR":
    case "USER":
    case "VOLUME":
    case "EXPOSE":
    case "RUN":
      return { kind, argument };
    case "COPY": {
      const copy = instruction as Copy;
      const paths = copy.getArguments().map((word) => word.getValue());
      const from = copy.getFromFlag()?.getValue() ?? undefined;
      return { kind, from, sources: paths.slice(0, -1), target: paths.at(-1) ?? "" };
    }
    case "ENV": {
      const properties = (instruction as Env).getProperties();
      const pairs = properties.map((property) => [property.getName(), property.getValue() ?? ""]);
      return { kind, variables: Object.fromEntries(pairs) };
    }
    case "ENTRYPOINT":
    case "CMD":
    case "HEALTHCHECK":
      return { kind, words: JSON.parse(argument.slice(argument.indexOf("["))) };
    default:
      throw new Error(`${kind} is not understood here`);
  }
}
