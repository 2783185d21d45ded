package inpaint_server.front_door;

import com.amazonaws.ml.mms.util.NettyUtils;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.util.ReferenceCountUtil;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;

/**
 * On the public port, before the model server's own handlers: rewrites requests and error responses, and records
 * disconnects.
 *
 * <p>Requests: every path but /invocations and /ping becomes one that does not exist, the query is dropped, and the
 * body's Content-Type and the method travel in headers of ours. Without a Content-Type the model server passes the
 * body on unchanged; a form it would parse, and get wrong.
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
    private static final String METHOD = "x-inpaint-method";

    private final Path disconnected = Paths.get(System.getProperty("java.io.tmpdir"), "disconnected");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            rewrite((HttpRequest) message);
        }
        context.fireChannelRead(message);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws IOException {
        String unanswered = NettyUtils.getRequestId(context.channel());
        if (unanswered != null) {
            Files.createFile(disconnected.resolve(unanswered));
        }
        context.fireChannelInactive();
    }

    private static void rewrite(HttpRequest request) {
        String path = request.uri().split("\\?", 2)[0];
        request.setUri(path.equals("/invocations") || path.equals("/ping") ? path : "/absent");
        HttpHeaders headers = request.headers();
        String contentType = headers.get(HttpHeaderNames.CONTENT_TYPE);
        headers.remove(HttpHeaderNames.CONTENT_TYPE).remove(CONTENT_TYPE);
        if (contentType != null) {
            headers.set(CONTENT_TYPE, contentType);
        }
        headers.set(METHOD, request.method().name());
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
