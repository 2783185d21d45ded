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

    private static final String ADVICE = "Send POST /invocations or GET /ping.";
    private static final String RETRY_AFTER_S = "5";

    private ErrorResponses() {}

    /** The response with this status. */
    static FullHttpResponse create(HttpResponseStatus status, String requestId) {
        switch (status.code()) {
            case 400:
                return create(status, requestId, "invalid_request", "Send a well-formed HTTP/1.1 request.");
            case 404:
                return create(status, requestId, "not_found", "There is nothing here. " + ADVICE);
            case 413:
                String smaller = "Send a body of fewer bytes: this one was not even read to its end.";
                return create(status, requestId, "too_large", smaller);
            case 503:
                String busy = "Every worker is busy; send the request again later.";
                return create(status, requestId, "overloaded", busy);
            default:
                String lost = "The request was lost; its id is " + requestId + ". Send it again.";
                return create(status, requestId, "internal", lost);
        }
    }

    /** The response to a method that the path does not have. */
    static FullHttpResponse methodNotAllowed(String allowed, String requestId) {
        HttpResponseStatus status = HttpResponseStatus.METHOD_NOT_ALLOWED;
        FullHttpResponse response = create(status, requestId, "method_not_allowed", ADVICE);
        response.headers().set(HttpHeaderNames.ALLOW, allowed);
        return response;
    }

    /** The response to a request whose body has not arrived when the server stops. */
    static FullHttpResponse draining(String requestId) {
        String message = "The server is stopping: send the request again soon.";
        return create(HttpResponseStatus.SERVICE_UNAVAILABLE, requestId, "draining", message);
    }

    private static FullHttpResponse create(HttpResponseStatus status, String requestId, String code, String message) {
        String error =
                String.format(
                        "{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"request_id\":\"%s\"}}",
                        code, message, requestId);
        byte[] body = error.getBytes(StandardCharsets.US_ASCII);
        FullHttpResponse response =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status, Unpooled.wrappedBuffer(body));
        response.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json").set(REQUEST_ID, requestId);
        HttpUtil.setContentLength(response, body.length);
        if (status.code() == 503) {
            response.headers().set(HttpHeaderNames.RETRY_AFTER, RETRY_AFTER_S);
        }
        return response;
    }
}
