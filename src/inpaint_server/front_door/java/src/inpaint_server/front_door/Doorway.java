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
 * Stands between the network and the model server: two routes in, one wording out, and word of who left.
 *
 * <p>In: every path but /invocations and /ping becomes one that is not there, a query is dropped, and
 * the body's type and the method travel in headers of ours. Without a type the model server passes a
 * body on as it is; a form it would take apart, badly.
 *
 * <p>Out: an error that neither the engine nor a handler of ours has worded is worded here.
 *
 * <p>Gone: where a caller closes its connection before its answer, an empty file in this process's
 * temp folder has the request's id for its name; the handler that waits for the answer looks there.
 */
public final class Doorway extends ChannelDuplexHandler {
    /** Marks an answer in this server's words; it does not leave the server. */
    static final String WORDED = "x-inpaint-worded";

    private static final String CONTENT_TYPE = "x-inpaint-content-type";
    private static final String METHOD = "x-inpaint-method";

    private final Path gone = Paths.get(System.getProperty("java.io.tmpdir"), "gone");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            admit((HttpRequest) message);
        }
        context.fireChannelRead(message);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws IOException {
        String unanswered = NettyUtils.getRequestId(context.channel());
        if (unanswered != null) {
            Files.createFile(gone.resolve(unanswered));
        }
        context.fireChannelInactive();
    }

    private static void admit(HttpRequest request) {
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
        context.write(message instanceof FullHttpResponse ? worded((FullHttpResponse) message) : message, promise);
    }

    private static FullHttpResponse worded(FullHttpResponse answer) {
        boolean ours = answer.headers().contains(WORDED);
        answer.headers().remove(WORDED);
        if (ours || answer.status().code() < 400) {
            return answer;
        }
        FullHttpResponse error = Wording.of(answer.status(), answer.headers().get(Wording.REQUEST_ID));
        error.headers().set(HttpHeaderNames.CONNECTION, answer.headers().get(HttpHeaderNames.CONNECTION, "close"));
        ReferenceCountUtil.release(answer);
        return error;
    }
}
