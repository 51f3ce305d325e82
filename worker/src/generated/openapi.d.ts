// Made by `npm run generate` from pkg/httpapi/openapi.yaml. Do not edit.
export interface paths {
    "/v1/images": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the sets, newest first */
        get: operations["listImages"];
        put?: never;
        /**
         * Make the ladder of one picture
         * @description The body is the picture's bytes, or a form with exactly one file. Its format is read from the bytes; what Content-Type says counts for nothing.
         */
        post: operations["postImage"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/images/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: components["parameters"]["ImageID"];
            };
            cookie?: never;
        };
        /** The manifest of a set */
        get: operations["getImage"];
        put?: never;
        post?: never;
        /** Remove a set */
        delete: operations["deleteImage"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Make a picture, or a whole ladder, of one that has a URL
         * @description While a job for the same input and options is on its way, that is answered, and gets this webhook_url beside its own.
         */
        post: operations["postJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{id}": {
        parameters: {
            query?: never;
            header?: {
                /** @description respond-async: answer at once; wait=N: answer within N seconds (RFC 7240). */
                Prefer?: components["parameters"]["Prefer"];
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        /**
         * How a job stands
         * @description Prefer: wait=N holds the answer until the job has ended.
         */
        get: operations["getJob"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/files/{id}/{name}": {
        parameters: {
            query?: {
                /** @description Of a signed URL: the Unix time at which it expires. */
                exp?: number;
                /** @description Of a signed URL: HMAC-SHA-256 over path and exp. */
                sig?: string;
            };
            header?: {
                Range?: string;
                "If-None-Match"?: string;
            };
            path: {
                id: components["parameters"]["ImageID"];
                /** @description 320.webp, 320.jpg, 320.avif or manifest.json. */
                name: string;
            };
            cookie?: never;
        };
        /**
         * One file of a set
         * @description Needs no token where files.public is true, or with the signature of a URL that the server gave.
         */
        get: operations["getFile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document */
        get: operations["getOpenAPI"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether the process serves */
        get: operations["getHealth"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether pictures can be taken now */
        get: operations["getReadiness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export interface webhooks {
    jobEnded: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * A job has ended
         * @description Signed by the Standard Webhooks scheme. Sent again, with the same webhook-id, until it is answered 2xx, for up to a day.
         */
        post: operations["jobEnded"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export interface components {
    schemas: {
        Problem: {
            type: string;
            title: string;
            status: number;
            /** @description For a person. */
            detail: string;
            /**
             * @description For a program; stable.
             * @enum {string}
             */
            code: "invalid_request" | "digest_mismatch" | "unauthorized" | "not_found" | "method_not_allowed" | "upload_timeout" | "too_large" | "unsupported_format" | "range_not_satisfiable" | "precondition_failed" | "corrupt_image" | "too_many_pixels" | "too_many_frames" | "processing_failed" | "invalid_options" | "queue_full" | "shutting_down" | "insufficient_storage" | "internal";
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
            source: {
                sha256: components["schemas"]["SHA256"];
                filename?: string;
                /** @enum {string} */
                format: "jpeg" | "png" | "webp" | "gif" | "heic" | "avif" | "tiff";
                bytes: number;
                width: number;
                height: number;
                frames: number;
            };
            /** @description Pixels as seen, after EXIF orientation. */
            width: number;
            height: number;
            placeholder: {
                thumbhash: string;
                color: string;
            };
            /** @description By format as configured, then by width. */
            variants: components["schemas"]["Variant"][];
            omitted: {
                format: components["schemas"]["Format"];
                width: number;
                /** @enum {string} */
                reason: "not_smaller" | "beyond_format";
            }[];
            /** @description By format, the value of an HTML srcset with keys in place of URLs. */
            srcset: {
                [key: string]: string;
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
        JobRequest: {
            /**
             * @description An https:// URL (or http://, where the server allows it), or image:{id} of an image whose original is kept.
             * @example https://cdn.example.com/originals/photo-abc123.jpg
             */
            input: string;
            /** @constant */
            kind?: "image";
            options?: components["schemas"]["Options"];
            /** Format: uri */
            webhook_url?: string;
            /** @description Any JSON object of at most 4096 bytes, handed back. */
            metadata?: Record<string, never>;
        };
        /** @description Without width, height and format: the whole ladder. Nothing is enlarged. */
        Options: {
            /** @description Pixels; at most the server's ladder.max_width. */
            width?: number;
            /** @description Pixels; with a width, a box to fit into. */
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
            /** @description As it was given; of an upload, upload: and the SHA-256 of the bytes. */
            input: string;
            options: components["schemas"]["Options"];
            metadata: Record<string, never>;
            /** @description Null until the job is completed, and when what it made was deleted since. */
            output: components["schemas"]["LadderOutput"] | components["schemas"]["VariantOutput"] | null;
            /** @description Of a failed job. */
            error: components["schemas"]["JobError"] | null;
            attempts: number;
            created_at: components["schemas"]["Time"];
            started_at: components["schemas"]["Time"] | null;
            finished_at: components["schemas"]["Time"] | null;
        };
        LadderOutput: {
            manifest: components["schemas"]["Manifest"];
            /**
             * Format: uri
             * @description Of the manifest's file; needs no token until it expires.
             */
            url: string;
        };
        VariantOutput: {
            /**
             * Format: uri
             * @description Needs no token until it expires; the job gives a new one.
             */
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
            /**
             * @description For a program; stable.
             * @enum {string}
             */
            code: "input_forbidden" | "input_not_found" | "input_refused" | "input_unavailable" | "not_found" | "too_large" | "unsupported_format" | "corrupt_image" | "too_many_pixels" | "too_many_frames" | "processing_failed" | "invalid_options" | "invalid_request" | "insufficient_storage" | "internal";
            /** @description For a person. */
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
    responses: {
        /** @description Why not. */
        Problem: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description Not now. */
        TemporaryProblem: {
            headers: {
                /** @description Seconds. */
                "Retry-After": number;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: {
        ImageID: string;
        /** @description respond-async: answer at once; wait=N: answer within N seconds (RFC 7240). */
        Prefer: string;
    };
    requestBodies: never;
    headers: {
        /** @description Path of the image */
        Location: string;
        /** @description Seconds. */
        "Retry-After": number;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    listImages: {
        parameters: {
            query?: {
                limit?: number;
                /** @description next of the page before. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description One page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Listing"];
                };
            };
            400: components["responses"]["Problem"];
            401: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    postImage: {
        parameters: {
            query?: {
                /** @description Kept as source.filename; of a form, the part's own is. */
                filename?: string;
                /** @description Told of the end of the work, if there is any to do. */
                webhook_url?: string;
            };
            header?: {
                /** @description sha-256=:…: of the body (RFC 9530), which is verified. */
                "Content-Digest"?: string;
                /** @description respond-async: answer at once; wait=N: answer within N seconds (RFC 7240). */
                Prefer?: components["parameters"]["Prefer"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": unknown;
                "image/*": unknown;
                "multipart/form-data": {
                    file?: string;
                };
            };
        };
        responses: {
            /** @description The set of this content and recipe was there already, or is that of an equal upload at the same time. */
            200: {
                headers: {
                    Location: components["headers"]["Location"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Manifest"];
                };
            };
            /** @description The set was made now. */
            201: {
                headers: {
                    Location: components["headers"]["Location"];
                    /** @description queue, work and total, in ms from the last byte of the body. */
                    "Server-Timing"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Manifest"];
                };
            };
            /** @description Accepted and durable, not finished yet. */
            202: {
                headers: {
                    Location: components["headers"]["Location"];
                    "Retry-After": components["headers"]["Retry-After"];
                    "Preference-Applied"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem"];
            401: components["responses"]["Problem"];
            408: components["responses"]["Problem"];
            413: components["responses"]["Problem"];
            415: components["responses"]["Problem"];
            422: components["responses"]["Problem"];
            429: components["responses"]["TemporaryProblem"];
            500: components["responses"]["Problem"];
            503: components["responses"]["TemporaryProblem"];
            507: components["responses"]["TemporaryProblem"];
        };
    };
    getImage: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: components["parameters"]["ImageID"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The manifest. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Manifest"];
                };
            };
            401: components["responses"]["Problem"];
            404: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    deleteImage: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                id: components["parameters"]["ImageID"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is gone, also when it was before. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    postJob: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["JobRequest"];
            };
        };
        responses: {
            /** @description Accepted and durable. */
            202: {
                headers: {
                    Location: components["headers"]["Location"];
                    "Retry-After": components["headers"]["Retry-After"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            400: components["responses"]["Problem"];
            401: components["responses"]["Problem"];
            404: components["responses"]["Problem"];
            408: components["responses"]["Problem"];
            413: components["responses"]["Problem"];
            422: components["responses"]["Problem"];
            429: components["responses"]["TemporaryProblem"];
            500: components["responses"]["Problem"];
            503: components["responses"]["TemporaryProblem"];
            507: components["responses"]["TemporaryProblem"];
        };
    };
    getJob: {
        parameters: {
            query?: never;
            header?: {
                /** @description respond-async: answer at once; wait=N: answer within N seconds (RFC 7240). */
                Prefer?: components["parameters"]["Prefer"];
            };
            path: {
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The job. */
            200: {
                headers: {
                    "Retry-After": components["headers"]["Retry-After"];
                    "Preference-Applied"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            401: components["responses"]["Problem"];
            404: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    getFile: {
        parameters: {
            query?: {
                /** @description Of a signed URL: the Unix time at which it expires. */
                exp?: number;
                /** @description Of a signed URL: HMAC-SHA-256 over path and exp. */
                sig?: string;
            };
            header?: {
                Range?: string;
                "If-None-Match"?: string;
            };
            path: {
                id: components["parameters"]["ImageID"];
                /** @description 320.webp, 320.jpg, 320.avif or manifest.json. */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The file, which never changes. */
            200: {
                headers: {
                    /** @description Strong: the file's SHA-256. */
                    ETag?: string;
                    "Repr-Digest"?: string;
                    "Cache-Control"?: string;
                    "Accept-Ranges"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "image/webp": unknown;
                    "image/jpeg": unknown;
                    "image/avif": unknown;
                    "application/json": components["schemas"]["Manifest"];
                };
            };
            /** @description A part of the file. */
            206: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "image/webp": unknown;
                    "image/jpeg": unknown;
                    "image/avif": unknown;
                    "application/json": unknown;
                    "multipart/byteranges": unknown;
                };
            };
            /** @description The client has it. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Problem"];
            404: components["responses"]["Problem"];
            412: components["responses"]["Problem"];
            416: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    getOpenAPI: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OpenAPI 3.1. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            401: components["responses"]["Problem"];
            500: components["responses"]["Problem"];
        };
    };
    getHealth: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It does. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        status: "ok";
                    };
                };
            };
        };
    };
    getReadiness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description They can. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
            /** @description They cannot. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
        };
    };
    jobEnded: {
        parameters: {
            query?: never;
            header: {
                /** @description The same over all tries. */
                "webhook-id": string;
                /** @description Unix time of the try, seconds. */
                "webhook-timestamp": number;
                /** @description v1,… for each of the server's secrets. */
                "webhook-signature": string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Event"];
            };
        };
        responses: {
            /** @description Taken. */
            "2XX": {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Sent again later. */
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
}
