package inpaint_server.front_door;

import com.amazonaws.ml.mms.util.NettyUtils;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.QueryStringDecoder;
import io.netty.util.ReferenceCountUtil;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.UUID;

/**
 * On the public port, before the model server's own handlers: refuses and rewrites requests, rewrites error responses,
 * and records disconnects.
 *
 * <p>Requests: everything but POST /invocations and GET or HEAD /ping is refused here as the engine refuses it. The
 * query is dropped, and the body's Content-Type travels in a header of ours. Without a Content-Type the model server
 * passes the body on unchanged; a form it would parse, and get wrong.
 *
 * <p>Responses: an error that comes neither from the engine nor from our Python handler gets the body and headers that
 * all errors of this server have.
 *
 * <p>Disconnects: when a caller closes its connection before its response, an empty file named by the request's id is
 * created in the folder "disconnected" of this process's temp folder, where the waiting Python handler finds it.
 */
public final class PublicPortHandler extends ChannelDuplexHandler {
    /** Set on a response that is to be sent unchanged; removed before it is. */
    static final String PASSTHROUGH = "x-inpaint-passthrough";

    private static final String CONTENT_TYPE = "x-inpaint-content-type";
    private final Path disconnected = Paths.get(System.getProperty("java.io.tmpdir"), "disconnected");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        String path = path(request.uri());
        FullHttpResponse refusal = refusal(request, path);
        if (refusal == null) {
            rewrite(request, path);
            context.fireChannelRead(request);
            return;
        }
        boolean keepAlive = HttpUtil.isKeepAlive(request) && request.decoderResult().isSuccess();
        request.release();
        HttpUtil.setKeepAlive(refusal, keepAlive);
        ChannelFuture sent = context.writeAndFlush(refusal);
        if (!keepAlive) {
            sent.addListener(ChannelFutureListener.CLOSE);
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws IOException {
        String unanswered = NettyUtils.getRequestId(context.channel());
        if (unanswered != null) {
            Files.createFile(disconnected.resolve(unanswered));
        }
        context.fireChannelInactive();
    }

    /** The path without query and without a slash at its end; empty if it cannot be decoded. */
    private static String path(String uri) {
        try {
            String path = new QueryStringDecoder(uri).path();
            return path.endsWith("/") ? path.substring(0, path.length() - 1) : path;
        } catch (IllegalArgumentException malformed) {
            return "";
        }
    }

    /** The response to a request that is none of ours; null if it is. */
    private static FullHttpResponse refusal(FullHttpRequest request, String path) {
        String id = UUID.randomUUID().toString();
        HttpMethod method = request.method();
        if (request.decoderResult().isFailure()) {
            return ErrorResponses.create(HttpResponseStatus.BAD_REQUEST, id);
        }
        switch (path) {
            case "/ping":
                boolean reads = method.equals(HttpMethod.GET) || method.equals(HttpMethod.HEAD);
                return reads ? null : ErrorResponses.methodNotAllowed("GET, HEAD", id);
            case "/invocations":
                return method.equals(HttpMethod.POST) ? null : ErrorResponses.methodNotAllowed("POST", id);
            default:
                return ErrorResponses.create(HttpResponseStatus.NOT_FOUND, id);
        }
    }

    private static void rewrite(FullHttpRequest request, String path) {
        request.setUri(path);
        if (request.method().equals(HttpMethod.HEAD)) {
            request.setMethod(HttpMethod.GET); // the codec leaves out the body of the response all the same
        }
        HttpHeaders headers = request.headers();
        String contentType = headers.get(HttpHeaderNames.CONTENT_TYPE);
        headers.remove(HttpHeaderNames.CONTENT_TYPE).remove(CONTENT_TYPE);
        if (contentType != null) {
            headers.set(CONTENT_TYPE, contentType);
        }
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        context.write(message instanceof FullHttpResponse ? rewrite((FullHttpResponse) message) : message, promise);
    }

    private static FullHttpResponse rewrite(FullHttpResponse response) {
        boolean passthrough = response.headers().contains(PASSTHROUGH);
        response.headers().remove(PASSTHROUGH);
        if (passthrough || response.status().code() < 400) {
            return response;
        }
        String requestId = response.headers().get(ErrorResponses.REQUEST_ID);
        FullHttpResponse error = ErrorResponses.create(response.status(), requestId);
        error.headers().set(HttpHeaderNames.CONNECTION, response.headers().get(HttpHeaderNames.CONNECTION, "close"));
        ReferenceCountUtil.release(response);
        return error;
    }
}
