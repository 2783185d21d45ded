package inpaint_server.front_door;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;

/** Errors that occur in the model server itself, with the body and headers that all errors of this server have. */
final class ErrorResponses {
    static final String REQUEST_ID = "x-request-id";

    private ErrorResponses() {}

    /** The complete response with this status. */
    static FullHttpResponse create(HttpResponseStatus status, String requestId) {
        byte[] body = body(status.code(), requestId).getBytes(StandardCharsets.US_ASCII);
        FullHttpResponse response =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, Unpooled.wrappedBuffer(body));
        response.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json").set(REQUEST_ID, requestId);
        HttpUtil.setContentLength(response, body.length);
        if (status.code() == 503) {
            response.headers().set(HttpHeaderNames.RETRY_AFTER, "5");
        }
        if (status.code() == 405) {
            response.headers().set(HttpHeaderNames.ALLOW, "GET");
        }
        return response;
    }

    private static String body(int status, String requestId) {
        String id = "\"request_id\": \"" + requestId + "\"";
        return "{\"error\": {" + error(status, requestId) + ", " + id + "}}\n";
    }

    private static String error(int status, String requestId) {
        switch (status) {
            case 400:
                return codeAndMessage("invalid_request", "Send a well-formed HTTP/1.1 request.");
            case 404:
                return codeAndMessage("not_found", "Send POST /invocations or GET /ping.");
            case 405:
                return codeAndMessage("method_not_allowed", "Send GET /ping.");
            case 413:
                return codeAndMessage("too_large", "Send a body of fewer bytes: this one was not even read to its end.");
            case 503:
                return codeAndMessage("overloaded", "Every worker is busy; send the request again later.");
            default:
                return codeAndMessage("internal", "The request was lost; its id is " + requestId + ". Send it again.");
        }
    }

    private static String codeAndMessage(String code, String message) {
        return "\"code\": \"" + code + "\", \"message\": \"" + message + "\"";
    }
}
