// Made by `npm run generate` from pkg/httpapi/openapi.yaml. Do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Problem: {
            type: string;
            title: string;
            status: number;
            detail: string;
            /** @enum {string} */
            code: "invalid_request" | "digest_mismatch" | "unauthorized" | "forbidden" | "not_found" | "method_not_allowed" | "upload_timeout" | "too_large" | "unsupported_format" | "unsupported_encoding" | "misdirected_request" | "range_not_satisfiable" | "precondition_failed" | "corrupt_image" | "too_many_pixels" | "too_many_frames" | "processing_failed" | "invalid_options" | "conflict" | "canceled" | "queue_full" | "shutting_down" | "unavailable" | "insufficient_storage" | "internal";
            request_id: string;
        };
        Time: string;
        SHA256: string;
        ID: string;
        /** @enum {string} */
        Format: "webp" | "jpeg" | "avif";
        Manifest: {
            /** @constant */
            version: 1;
            id: components["schemas"]["ID"];
            created_at: components["schemas"]["Time"];
            recipe: string;
            replaces?: components["schemas"]["ID"];
            source: {
                sha256: components["schemas"]["SHA256"];
                filename?: string;
                /** @enum {string} */
                format: "jpeg" | "png" | "webp" | "gif" | "heic" | "avif" | "tiff";
                bytes: number;
                width: number;
                height: number;
                frames: number;
                taken_at?: string;
            };
            width: number;
            height: number;
            placeholder: {
                thumbhash: string;
                color: string;
            };
            variants: components["schemas"]["Variant"][];
            omitted: {
                format: components["schemas"]["Format"];
                width: number;
                /** @enum {string} */
                reason: "not_smaller" | "beyond_format";
            }[];
            srcset: {
                [key: string]: string;
            };
            timings?: {
                [key: string]: number;
            };
        };
        Variant: {
            key: string;
            /** Format: uri */
            url: string;
            format: components["schemas"]["Format"];
            /** @enum {string} */
            content_type: "image/webp" | "image/jpeg" | "image/avif";
            width: number;
            height: number;
            bytes: number;
            sha256: components["schemas"]["SHA256"];
        };
        Listing: {
            items: components["schemas"]["Manifest"][];
            next: string | null;
        };
        JobListing: {
            items: components["schemas"]["Job"][];
            next: string | null;
        };
        JobRequest: {
            input: string;
            /** @constant */
            kind?: "image";
            options?: components["schemas"]["Options"];
            /** Format: uri */
            webhook_url?: string;
            metadata?: {
                [key: string]: unknown;
            };
        };
        Options: {
            width?: number;
            height?: number;
            format?: components["schemas"]["Format"];
            quality?: ("low" | "medium" | "high") | number;
        };
        Job: {
            id: string;
            /** @constant */
            object: "job";
            /** @constant */
            kind: "image";
            /** @enum {string} */
            status: "pending" | "processing" | "completed" | "failed";
            input: string;
            options: components["schemas"]["Options"];
            metadata: {
                [key: string]: unknown;
            };
            output: components["schemas"]["LadderOutput"] | components["schemas"]["VariantOutput"] | null;
            error: components["schemas"]["JobError"] | null;
            attempts: number;
            created_at: components["schemas"]["Time"];
            started_at: components["schemas"]["Time"] | null;
            finished_at: components["schemas"]["Time"] | null;
        };
        LadderOutput: {
            manifest: components["schemas"]["Manifest"];
            /** Format: uri */
            url: string;
        };
        VariantOutput: {
            /** Format: uri */
            url: string;
            width: number;
            height: number;
            format: components["schemas"]["Format"];
            /** @enum {string} */
            content_type: "image/webp" | "image/jpeg" | "image/avif";
            bytes: number;
            sha256: components["schemas"]["SHA256"];
        };
        JobError: {
            code: string;
            message: string;
        };
        Event: {
            /** @enum {string} */
            type: "job.completed" | "job.failed";
            timestamp: components["schemas"]["Time"];
            data: components["schemas"]["Job"];
        };
        Readiness: {
            /** @enum {string} */
            status: "ready" | "not_ready";
            parts: {
                [key: string]: {
                    /** @enum {string} */
                    status: "ready" | "not_ready" | "off";
                    detail?: string;
                };
            };
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
