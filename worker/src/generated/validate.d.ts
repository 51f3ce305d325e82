// Made by `npm run generate` from pkg/httpapi/openapi.yaml. Do not edit.
import type { components } from "./openapi";

export function isEvent(data: unknown): data is components["schemas"]["Event"];
export function isJob(data: unknown): data is components["schemas"]["Job"];
export function isManifest(data: unknown): data is components["schemas"]["Manifest"];
