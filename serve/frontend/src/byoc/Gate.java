package byoc;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Locale;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * What every request of one connection passes, between netty's HTTP codec and multi-model-server's handlers.
 *
 * <p>It answers /ping and /execution-parameters, refuses early what could not be answered well, hands on one
 * request at a time (multi-model-server would answer pipelined ones in any order), and counts requests, so
 * that none is lost when the server leaves. All methods run on the connection's event loop.
 */
final class Gate extends ChannelDuplexHandler {

    private static final int LINGER_SECONDS = 10;
    // The headers that mean something further on. Everything else, in any spelling, ends here.
    private static final Set<String> KEPT =
            new HashSet<>(
                    Arrays.asList(
                            "content-type", "content-length", "transfer-encoding", "expect", "connection",
                            "accept", "x-amzn-sagemaker-custom-attributes"));

    private final Traffic traffic;
    private final Queue<Object> waiting = new ArrayDeque<>();
    private boolean active; // a request is under way: it ends when it is both received and answered
    private boolean received;
    private boolean answered;
    private boolean refused; // it got its answer here; what is left of its body is thrown away
    private boolean closing; // the connection ends with this request
    private long reserved;
    private long seen;

    Gate(Traffic traffic) {
        this.traffic = traffic;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (active && received) {
            waiting.add(message); // the next request, sent before this one has its answer
        } else if (message instanceof HttpRequest) {
            begin(context, (HttpRequest) message);
        } else if (active && !refused) {
            receive(context, (HttpContent) message);
        } else {
            ReferenceCountUtil.release(message);
            received |= message instanceof LastHttpContent;
            settle(context);
        }
    }

    private void begin(ChannelHandlerContext context, HttpRequest request) {
        active = true;
        received = answered = refused = false;
        seen = 0;
        closing = traffic.draining || !HttpUtil.isKeepAlive(request);
        traffic.enter();
        if (request.decoderResult().isFailure()) {
            received = closing = true; // nothing sensible can follow
            refuse(context, error(400, "this is no valid HTTP/1.1 request"));
            ReferenceCountUtil.release(request);
            return;
        }
        FullHttpResponse answer = answer(request);
        if (answer == null) {
            tidy(request);
            context.fireChannelRead(request);
        } else {
            // Who announces a large body waits for leave to send it, or is about to send what nobody reads.
            closing |= HttpUtil.getContentLength(request, 0L) > 65536 || HttpUtil.is100ContinueExpected(request);
            refuse(context, answer);
        }
    }

    private void receive(ChannelHandlerContext context, HttpContent content) {
        seen += content.content().readableBytes();
        if (seen > traffic.maxBytes) { // a body without Content-Length
            content.release();
            closing = true;
            refuse(context, tooLarge());
            return;
        }
        if (content.decoderResult().isFailure()) {
            content.release();
            received = closing = true;
            refuse(context, error(400, "the request's body is damaged (chunked encoding)"));
            return;
        }
        if (content instanceof LastHttpContent) {
            received = true;
            context.channel().config().setAutoRead(false);
        }
        context.fireChannelRead(content);
    }

    private void refuse(ChannelHandlerContext context, FullHttpResponse answer) {
        refused = true;
        context.writeAndFlush(answer, watched(context, answer, context.newPromise()));
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (message instanceof HttpResponse
                && ((HttpResponse) message).status().codeClass() != HttpStatusClass.INFORMATIONAL) {
            context.write(message, watched(context, (HttpResponse) message, promise.unvoid()));
        } else {
            context.write(message, promise);
        }
    }

    private ChannelPromise watched(ChannelHandlerContext context, HttpResponse response, ChannelPromise promise) {
        closing |= traffic.draining;
        response.headers().set(
                HttpHeaderNames.CONNECTION, closing ? HttpHeaderValues.CLOSE : HttpHeaderValues.KEEP_ALIVE);
        if (response.status().code() == 503) {
            response.headers().set(HttpHeaderNames.RETRY_AFTER, "1");
        }
        return promise.addListener((ChannelFutureListener) future -> {
            traffic.release(reserved);
            reserved = 0;
            answered = true;
            settle(context);
            if (active && !received && closing) {
                // Closing on unread data would reset the connection under the answer: let the client read it.
                context.executor().schedule(() -> { context.close(); }, LINGER_SECONDS, TimeUnit.SECONDS);
            }
        });
    }

    private void settle(ChannelHandlerContext context) {
        if (!active || !received || !answered) {
            return;
        }
        active = false;
        traffic.leave();
        if (closing) {
            context.close();
            return;
        }
        context.channel().config().setAutoRead(true);
        while (!waiting.isEmpty() && !(active && received)) {
            channelRead(context, waiting.poll());
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        waiting.forEach(ReferenceCountUtil::release);
        waiting.clear();
        if (active) { // the client has gone; a worker may still be at it, and its answer frees the memory
            active = false;
            traffic.leave();
            if (!received) {
                traffic.release(reserved);
                reserved = 0;
            }
        }
        context.fireChannelInactive();
    }

    /** An answer that needs no worker, or null. */
    private FullHttpResponse answer(HttpRequest request) {
        String path = request.uri().split("[?#]", 2)[0];
        String method = request.method().name();
        switch (path) {
            case "/ping":
                if (!method.equals("GET") && !method.equals("HEAD")) {
                    return error(405, "/ping answers GET");
                }
                return ping();
            case "/execution-parameters":
                if (!method.equals("GET")) {
                    return error(405, "/execution-parameters answers GET");
                }
                return json(200, traffic.batchParameters);
            case "/invocations":
                if (!method.equals("POST")) {
                    return error(405, "send the picture to /invocations with POST");
                }
                request.setUri(path); // a query would become parameters beside the body
                return admit(request);
            default:
                return error(404, "no such path; there are /ping, /invocations and /execution-parameters");
        }
    }

    private FullHttpResponse ping() {
        if (traffic.draining) {
            return error(503, "the server is about to stop");
        }
        return traffic.workerReady() ? json(200, "{\"status\":\"Healthy\"}") : error(503, "the model is not loaded yet");
    }

    private FullHttpResponse admit(HttpRequest request) {
        if (!traffic.workerReady()) {
            return error(503, "no worker is ready; ask /ping and try again");
        }
        long length = HttpUtil.getContentLength(request, -1L);
        if (length > traffic.maxBytes) {
            return tooLarge();
        }
        long size = length >= 0 ? length : HttpUtil.isTransferEncodingChunked(request) ? traffic.maxBytes : 0;
        if (!traffic.reserve(size)) {
            return error(503, "the server is busy; try again");
        }
        reserved = size;
        return null;
    }

    private FullHttpResponse tooLarge() {
        return error(413, "the request is larger than " + traffic.maxBytes + " bytes; send a smaller picture");
    }

    private void tidy(HttpRequest request) {
        HttpHeaders headers = request.headers();
        for (String name : headers.names()) {
            String lower = name.toLowerCase(Locale.ROOT);
            String value = String.join(",", headers.getAll(name));
            headers.remove(name);
            if (KEPT.contains(lower)) {
                headers.set(lower, value);
            }
        }
        String type = headers.get("content-type", "");
        String kind = type.toLowerCase(Locale.ROOT).trim();
        if (kind.isEmpty()) {
            headers.set("content-type", "application/octet-stream");
        } else if (kind.startsWith("multipart/") || kind.startsWith("application/x-www-form-urlencoded")) {
            // multi-model-server would take the form apart itself, and fail with 503 on a damaged one.
            headers.set("content-type", "application/octet-stream");
            headers.set("x-form-type", type);
        }
    }

    private static FullHttpResponse error(int code, String message) {
        return json(code, "{\"code\":" + code + ",\"message\":\"" + message + "\"}");
    }

    private static FullHttpResponse json(int code, String text) {
        ByteBuf body = Unpooled.copiedBuffer(text, StandardCharsets.UTF_8);
        FullHttpResponse response =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.valueOf(code), body);
        response.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json");
        response.headers().set(HttpHeaderNames.CONTENT_LENGTH, body.readableBytes());
        return response;
    }
}
