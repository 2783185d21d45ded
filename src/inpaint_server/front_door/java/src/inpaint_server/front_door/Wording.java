package inpaint_server.front_door;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;

/** The errors that only the model server can meet, as the wire spells errors. */
final class Wording {
    static final String REQUEST_ID = "x-request-id";

    private Wording() {}

    /** A whole answer with this status. */
    static FullHttpResponse of(HttpResponseStatus status, String requestId) {
        byte[] body = body(status.code(), requestId).getBytes(StandardCharsets.US_ASCII);
        FullHttpResponse answer =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, Unpooled.wrappedBuffer(body));
        answer.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json").set(REQUEST_ID, requestId);
        HttpUtil.setContentLength(answer, body.length);
        if (status.code() == 503) {
            answer.headers().set(HttpHeaderNames.RETRY_AFTER, "5");
        }
        if (status.code() == 405) {
            answer.headers().set(HttpHeaderNames.ALLOW, "GET");
        }
        return answer;
    }

    private static String body(int status, String requestId) {
        String id = "\"request_id\": \"" + requestId + "\"";
        return "{\"error\": {" + codeAndMessage(status, requestId) + ", " + id + "}}\n";
    }

    private static String codeAndMessage(int status, String requestId) {
        switch (status) {
            case 400:
                return said("invalid_request", "Send a well-formed HTTP/1.1 request.");
            case 404:
                return said("not_found", "Send POST /invocations or GET /ping.");
            case 405:
                return said("method_not_allowed", "Send GET /ping.");
            case 413:
                return said("too_large", "Send a body of fewer bytes: this one was not even read to its end.");
            case 503:
                return said("overloaded", "Every worker is busy; send the request again later.");
            default:
                return said("internal", "The request was lost; its id is " + requestId + ". Send it again.");
        }
    }

    private static String said(String code, String message) {
        return "\"code\": \"" + code + "\", \"message\": \"" + message + "\"";
    }
}
